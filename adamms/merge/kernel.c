/* The passes of the elementwise formulas that `combination` and `thresholds` describe, fused into one.

   Blocks of each operand are widened to float64 in the processor's first cache, worked on there, and rounded
   once. Every operation is the one that torch's passes do, in their order: no product and sum may become one
   rounding (-ffp-contract=off), and nothing is reordered. Infinite and NaN values are only reported. */

#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* As in kernel.py, which uses no library of another version. Raise both with every change of this file. */
int64_t adamms_version(void) { return 6; }

enum { F64, F32, F16, BF16 };
enum { NONE, MAJORITY, WEIGHTED };
#define BLOCK 512
#define MAX_MODELS 16

/* One build that runs on every x86-64 and uses the wide registers where there are some. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif
#define INLINE static inline __attribute__((always_inline))

/* Some values of a tensor: the address of the first, and their dtype. */
typedef struct {
    const void *values;
    int dtype;
} Operand;

INLINE uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}

INLINE double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

INLINE uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

INLINE float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE double magnitude(double value) { return double_of(bits_of(value) & ~(1ULL << 63)); }

INLINE int64_t nonfinite(double value) { return (bits_of(value) >> 52 & 0x7ff) == 0x7ff; }

/* float16 in whole numbers: its exponent, moved to where float64 has it, or a multiple of 2**-24. */
INLINE double widened_half(uint16_t half) {
    uint64_t exponent = half >> 10 & 31, mantissa = half & 0x3ff, sign = (uint64_t)(half >> 15) << 63;
    uint64_t normal = (exponent == 31 ? 0x7ff : exponent + 1008) << 52 | mantissa << 42;
    double small = (double)(int32_t)mantissa * 0x1p-24;
    return double_of((exponent ? normal : bits_of(small)) | sign);
}

/* A float32's value to float16: half of the last place up, ties to even. Finite values only. */
INLINE uint16_t narrowed_half(float value) {
    double wide = value;
    uint64_t exponent = bits_of(wide) & 0x7ffULL << 52, least = 1009ULL << 52;
    exponent = exponent < least ? least : exponent;
    /* 1.5 * 2**52 times the unit of the last place: adding it rounds, subtracting it leaves what is rounded. */
    double shift = double_of((exponent + (42ULL << 52)) | 1ULL << 51);
    double rounded = magnitude((wide + shift) - shift);
    uint64_t normal = (bits_of(rounded) >> 42) - (1008ULL << 10);
    uint16_t small = (uint16_t)(int32_t)(rounded < 0x1p-13 ? rounded * 0x1p24 : 0.0);
    uint16_t found = rounded < 0x1p-14 ? small : rounded > 65504.0 ? 0x7c00 : (uint16_t)normal;
    return found | (uint16_t)(float_bits(value) >> 31 << 15);
}

/* Whether any of the bits of 16-bit or 32-bit floats has all bits of the exponent. */
INLINE int64_t nonfinite16(const uint16_t *bits, int64_t count, uint16_t exponent) {
    uint16_t found = 0;
    for (int64_t i = 0; i < count; i++) found |= (bits[i] & exponent) == exponent;
    return found;
}

INLINE int64_t nonfinite32(const uint32_t *bits, int64_t count) {
    uint32_t found = 0;
    for (int64_t i = 0; i < count; i++) found |= (bits[i] & 0x7f800000) == 0x7f800000;
    return found;
}

/* EACH(i, value), a statement, for the values `first` to `first + count` of an operand, in float64; adds to `found`
   whether any is infinite or NaN. */
#define FOR_VALUES(from, first, count, found, EACH) \
    if ((from).dtype == BF16) { \
        const uint16_t *values = (const uint16_t *)(from).values + (first); \
        found |= nonfinite16(values, count, 0x7f80); \
        for (int64_t i = 0; i < (count); i++) EACH(i, (double)float_of((uint32_t)values[i] << 16)); \
    } else if ((from).dtype == F16) { \
        const uint16_t *values = (const uint16_t *)(from).values + (first); \
        found |= nonfinite16(values, count, 0x7c00); \
        for (int64_t i = 0; i < (count); i++) EACH(i, widened_half(values[i])); \
    } else if ((from).dtype == F32) { \
        const float *values = (const float *)(from).values + (first); \
        found |= nonfinite32((const uint32_t *)(from).values + (first), count); \
        for (int64_t i = 0; i < (count); i++) EACH(i, (double)values[i]); \
    } else { \
        const double *values = (const double *)(from).values + (first); \
        for (int64_t i = 0; i < (count); i++) { \
            found |= nonfinite(values[i]); \
            EACH(i, values[i]); \
        } \
    }

/* The values `first` to `first + count` of an operand; whether any is infinite or NaN. */
INLINE int64_t load(double *restrict to, Operand from, int64_t first, int64_t count) {
    int64_t found = 0;
#define KEEP(i, value) to[i] = (value)
    FOR_VALUES(from, first, count, found, KEEP)
#undef KEEP
    return found;
}

/* The same, times their weight, added to `total`; with `begin` instead of what is there. */
INLINE int64_t load_weighted(
    double *restrict total, Operand from, double weight, int begin, int64_t first, int64_t count
) {
    int64_t found = 0;
#define BEGIN(i, value) total[i] = (value) * weight
#define ADD(i, value) total[i] += (value) * weight
    if (begin) {
        FOR_VALUES(from, first, count, found, BEGIN)
    } else {
        FOR_VALUES(from, first, count, found, ADD)
    }
#undef BEGIN
#undef ADD
    return found;
}

/* The values in their final dtype, at `first` of the result; whether any is infinite or NaN there.
   As torch does, by way of float32. A NaN that arithmetic makes stays one in fewer bits. */
INLINE int64_t store(void *to, int dtype, int64_t first, const double *restrict values, int64_t count) {
    int64_t found = 0;
    if (dtype == BF16) {
        uint16_t *restrict narrow = (uint16_t *)to + first;
        for (int64_t i = 0; i < count; i++) {
            uint32_t bits = float_bits((float)values[i]);
            narrow[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
        return nonfinite16(narrow, count, 0x7f80);
    }
    if (dtype == F16) {
        uint16_t *restrict narrow = (uint16_t *)to + first;
        for (int64_t i = 0; i < count; i++) {
            float value = (float)values[i];
            narrow[i] = narrowed_half(value);
            found |= (float_bits(value) & 0x7f800000) == 0x7f800000;
        }
        return found | nonfinite16(narrow, count, 0x7c00);
    }
    if (dtype == F32) {
        float *restrict narrow = (float *)to + first;
        for (int64_t i = 0; i < count; i++) narrow[i] = (float)values[i];
        return nonfinite32((const uint32_t *)narrow, count);
    }
    memcpy((double *)to + first, values, count * sizeof(double));
    for (int64_t i = 0; i < count; i++) found |= nonfinite(values[i]);
    return found;
}

/* Which differences from the base are kept, the others being 0: those of a size from `least` to `most`. The size is
   the magnitude, times the factor of its row of `width` elements where there are factors. */
typedef struct {
    double least, most;
    const double *factors;
    int64_t width;
} Kept;

INLINE void sizes_of(double *restrict sizes, const double *restrict vector, Kept kept, int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; i++) sizes[i] = magnitude(vector[i]);
    for (int64_t i = 0; kept.factors && i < count;) {
        int64_t row = (first + i) / kept.width, end = (row + 1) * kept.width - first;
        double factor = kept.factors[row];
        for (end = end < count ? end : count; i < end; i++) sizes[i] *= factor;
    }
}

/* A model's values minus the base's, where they are kept, else 0; whether any was infinite or NaN. */
INLINE int64_t load_vector(
    double *restrict to, Operand from, const double *restrict base, const Kept *kept, int64_t first, int64_t count
) {
    int64_t found = 0;
    double sizes[BLOCK];
#define SUBTRACT(i, value) to[i] = (value) - base[i]
    FOR_VALUES(from, first, count, found, SUBTRACT)
#undef SUBTRACT
    if (!kept) return found;
    sizes_of(sizes, to, *kept, first, count);
    for (int64_t i = 0; i < count; i++) {
        int left_out = (sizes[i] < kept->least) | ((sizes[i] > kept->most) & (sizes[i] < INFINITY));
        to[i] = left_out ? 0.0 : to[i];
    }
    return found;
}

/* The sum over the models, each times its weight; plain without weights (NULL). */
INLINE void weighted_sum(
    double *restrict total, double (*vectors)[BLOCK], const double *weights, int models, int64_t count
) {
    for (int64_t i = 0; i < count; i++) total[i] = weights ? vectors[0][i] * weights[0] : vectors[0][i];
    for (int m = 1; m < models; m++)
        for (int64_t i = 0; i < count; i++) total[i] += weights ? vectors[m][i] * weights[m] : vectors[m][i];
}

/* `vectors` with the elected sign, merged: as `merge_agreeing` in election.py. Overwrites them. */
INLINE void merge_agreeing(
    double *restrict merged, double (*vectors)[BLOCK], const double *weights, int models, int64_t count,
    int election, int majority, int mean
) {
    double sign[BLOCK], share[BLOCK];
    weighted_sum(merged, vectors, election == WEIGHTED ? weights : 0, models, count);
    int positive = election == WEIGHTED || majority > 0;
    for (int64_t i = 0; i < count; i++)
        sign[i] = positive ? (merged[i] < 0 ? -1.0 : 1.0) : (merged[i] > 0 ? 1.0 : -1.0);
    for (int m = 0; m < models; m++)
        for (int64_t i = 0; i < count; i++) {
            double agreeing = vectors[m][i] * sign[i];
            vectors[m][i] = agreeing < 0 ? 0.0 : agreeing;
        }
    weighted_sum(merged, vectors, weights, models, count);
    for (int64_t i = 0; i < count; i++) merged[i] *= sign[i];
    if (!mean) return;
    for (int64_t i = 0; i < count; i++) share[i] = 0;
    for (int m = 0; m < models; m++)
        for (int64_t i = 0; i < count; i++) share[i] += (vectors[m][i] > 0 ? 1.0 : 0.0) * weights[m];
    for (int64_t i = 0; i < count; i++) merged[i] /= share[i] + (share[i] == 0);
}

/* The merged values of `count` elements: sum of weight * model; with a base scaling * sum of weight *
   (model - base) + base. `kept` of each model (or NULL) and `election`, of differences from a base
   only, as above. Returns
   whether an operand or a result is infinite or NaN: then the result is not to be used. */
WIDE int64_t adamms_combine(
    int64_t count, void *to, int dtype, const Operand *models, int number, const double *weights,
    const Operand *base, double scaling, const Kept *kept, int election, int majority, int mean
) {
    double vectors[MAX_MODELS][BLOCK], ancestor[BLOCK], merged[BLOCK];
    int64_t found = 0;
    for (int64_t first = 0; first < count && !found; first += BLOCK) {
        int64_t part = count - first < BLOCK ? count - first : BLOCK;
        if (!base) {
            for (int m = 0; m < number; m++)
                found |= load_weighted(merged, models[m], weights[m], !m, first, part);
        } else {
            found |= load(ancestor, *base, first, part);
            for (int m = 0; m < number; m++)
                found |= load_vector(vectors[m], models[m], ancestor, kept ? kept + m : 0, first, part);
            if (election)
                merge_agreeing(merged, vectors, weights, number, part, election, majority, mean);
            else
                weighted_sum(merged, vectors, weights, number, part);
            for (int64_t i = 0; i < part; i++) merged[i] = merged[i] * scaling + ancestor[i];
        }
        found |= store(to, dtype, first, merged, part);
    }
    return found;
}

/* Whether any of an operand's values is infinite or NaN. */
WIDE int64_t adamms_nonfinite(int64_t count, const Operand *of) {
    int64_t found = 0;
#define LEAVE(i, value) (void)(value)
    for (int64_t first = 0; first < count && !found; first += BLOCK) {
        int64_t part = count - first < BLOCK ? count - first : BLOCK;
        FOR_VALUES(*of, first, part, found, LEAVE)
    }
#undef LEAVE
    return found;
}

#define PAGE 4096
#define ENDED -4096 /* a file that is read has ended: below all errors of the system */

/* Where values lie in a file, one after the other; `size` is that of an element. */
typedef struct {
    int64_t offset;
    int file, dtype, size;
} Run;

/* Where values go, of a dtype that is looked into or of -1: whole pages to `direct`, a descriptor of the same file, if that is not -1. */
typedef struct {
    int64_t offset;
    int file, direct, dtype, size;
} Place;

static int64_t read_all(int file, char *to, int64_t count, int64_t offset) {
    while (count) {
        ssize_t got = pread(file, to, count, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got ? -errno : ENDED;
        to += got, count -= got, offset += got;
    }
    return 0;
}

static int64_t write_all(int file, const char *from, int64_t count, int64_t offset) {
    while (count) {
        ssize_t put = pwrite(file, from, count, offset);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return put ? -errno : -ENOSPC;
        from += put, count -= put, offset += put;
    }
    return 0;
}

/* `buffer` stands for the file from a page's begin on; bytes `first` to `last` of it are written. */
static int64_t write_out(const Place *to, const char *buffer, int64_t base, int64_t first, int64_t last) {
    if (to->direct < 0) return write_all(to->file, buffer + first, last - first, base + first);
    int64_t start = (first + PAGE - 1) / PAGE * PAGE, stop = last / PAGE * PAGE;
    start = start < last ? start : last;
    stop = stop > start ? stop : start;
    int64_t failed = write_all(to->file, buffer + first, start - first, base + first);
    if (!failed) failed = write_all(to->direct, buffer + start, stop - start, base + start);
    if (failed == -EINVAL) /* a disk with larger blocks than pages */
        failed = write_all(to->file, buffer + start, stop - start, base + start);
    return failed ? failed : write_all(to->file, buffer + stop, last - stop, base + stop);
}

/* As adamms_combine, from files to a file; without weights the first model's values as they are. Returns 0;
   1 if a value is infinite or NaN: then what was written is not to be used; or an error of the system, below 0.

   room: for `step` float64 of each model and the base.
   buffer: `capacity` bytes, of whole pages, at the begin of a page.
   unread: which model could not be read, the base being the last; -1 if none. */
int64_t adamms_merge_file(
    int64_t count, const Place *to, const Run *models, int number, const double *weights, const Run *base,
    double scaling, const Kept *kept, int election, int majority, int mean, char *room, int64_t step,
    char *buffer, int64_t capacity, int *unread
) {
    Operand operands[MAX_MODELS], ancestor;
    int64_t start = to->offset / PAGE * PAGE, first = to->offset - start, last = first, failed = 0;
    *unread = -1;
    for (int64_t done = 0; done < count && !failed;) {
        int64_t part = (capacity - last) / to->size;
        part = part < step ? part : step;
        part = part < count - done ? part : count - done;
        for (int m = 0; m < number + !!base && !failed; m++) {
            const Run *run = m < number ? models + m : base;
            Operand *operand = m < number ? operands + m : &ancestor;
            char *place = weights ? room + m * step * sizeof(double) : buffer + last;
            failed = read_all(run->file, place, part * run->size, run->offset + done * run->size);
            if (failed) *unread = m;
            *operand = (Operand){place, run->dtype};
        }
        if (failed) break;
        if (weights)
            failed = adamms_combine(
                part, buffer + last, to->dtype, operands, number, weights, base ? &ancestor : 0, scaling, kept,
                election, majority, mean
            );
        else
            failed = to->dtype < 0 ? 0 : adamms_nonfinite(part, operands);
        last += part * to->size;
        done += part;
        if (!failed && (done == count || last + to->size > capacity)) {
            failed = write_out(to, buffer, start, first, last);
            start += last, first = last = 0;
        }
    }
    return failed;
}

/* How many more elements have a positive sum of the vectors than a negative one. */
WIDE int64_t adamms_balance(
    int64_t count, const Operand *models, int number, const Operand *base, const Kept *kept
) {
    double vectors[MAX_MODELS][BLOCK], ancestor[BLOCK], total[BLOCK];
    int64_t balance = 0;
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t part = count - first < BLOCK ? count - first : BLOCK;
        load(ancestor, *base, first, part);
        for (int m = 0; m < number; m++)
            load_vector(vectors[m], models[m], ancestor, kept ? kept + m : 0, first, part);
        weighted_sum(total, vectors, 0, number, part);
        for (int64_t i = 0; i < part; i++) balance += (total[i] > 0) - (total[i] < 0);
    }
    return balance;
}

/* Of sizes: bins of leading bits, `first_code` the first of `bins`; finite values only. */
INLINE int64_t bin_of(double value, int shift, int64_t first_code, int64_t bins) {
    int64_t code = (int64_t)(bits_of(value) >> shift) - first_code;
    return code < 0 ? 0 : code >= bins ? bins - 1 : code;
}

/* How many sizes are in each bin, added to `counts`. */
WIDE void adamms_count(
    int64_t count, const Operand *model, const Operand *base, const Kept *sized, int shift, int64_t first_code,
    int64_t bins, int64_t *restrict counts
) {
    double vector[BLOCK], ancestor[BLOCK], sizes[BLOCK];
    int64_t codes[BLOCK];
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t part = count - first < BLOCK ? count - first : BLOCK;
        load(ancestor, *base, first, part);
        load_vector(vector, *model, ancestor, 0, first, part);
        sizes_of(sizes, vector, *sized, first, part);
        for (int64_t i = 0; i < part; i++)
            codes[i] = nonfinite(sizes[i]) ? -1 : bin_of(sizes[i], shift, first_code, bins);
        for (int64_t i = 0; i < part; i++)
            if (codes[i] >= 0) counts[codes[i]]++;
    }
}

/* Those in some bins, in order, to `found`, which has room for all; how many there are. */
WIDE int64_t adamms_collect(
    int64_t count, const Operand *model, const Operand *base, const Kept *sized, int shift, int64_t first_code,
    int64_t bins, const int64_t *wanted, int number, double *restrict found
) {
    double vector[BLOCK], ancestor[BLOCK], sizes[BLOCK];
    int64_t inside[BLOCK], collected = 0;
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t part = count - first < BLOCK ? count - first : BLOCK, any = 0;
        load(ancestor, *base, first, part);
        load_vector(vector, *model, ancestor, 0, first, part);
        sizes_of(sizes, vector, *sized, first, part);
        for (int64_t i = 0; i < part; i++) inside[i] = 0;
        for (int w = 0; w < number; w++)
            for (int64_t i = 0; i < part; i++)
                inside[i] |= bin_of(sizes[i], shift, first_code, bins) == wanted[w] && !nonfinite(sizes[i]);
        for (int64_t i = 0; i < part; i++) any |= inside[i];
        for (int64_t i = 0; any && i < part; i++)
            if (inside[i]) found[collected++] = sizes[i];
    }
    return collected;
}

/* NumPy adds up to so many numbers in eight sums, and more in two halves. */
#define LEAF 128
#define MAX_PAIRS (MAX_MODELS * (MAX_MODELS + 1) / 2)

/* Models, and the base of their vectors or NULL. */
typedef struct {
    const Operand *models, *base;
    int number;
} Models;

/* The sum of up to LEAF numbers, in NumPy's order. */
INLINE double added(const double *restrict values, int64_t count) {
    double sums[8], total = -0.0;
    int64_t i = 0;
    if (count >= 8) {
        for (int k = 0; k < 8; k++) sums[k] = values[k];
        for (i = 8; i < count - count % 8; i += 8)
            for (int k = 0; k < 8; k++) sums[k] += values[i + k];
        total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
    for (; i < count; i++) total += values[i];
    return total;
}

/* That of the products of two runs. */
INLINE double inner(const double *restrict left, const double *restrict right, int64_t count) {
    double products[LEAF];
    for (int64_t i = 0; i < count; i++) products[i] = left[i] * right[i];
    return added(products, count);
}

/* Of up to LEAF elements the inner product of each pair of vectors, also with itself, in `combinations` order;
   whether a value was infinite or NaN. */
WIDE int64_t adamms_inner_products(const Models *of, int64_t first, int64_t count, double *products) {
    double vectors[MAX_MODELS][LEAF], ancestor[LEAF];
    int64_t found = of->base ? load(ancestor, *of->base, first, count) : 0;
    for (int m = 0; m < of->number; m++)
        found |= of->base ? load_vector(vectors[m], of->models[m], ancestor, 0, first, count)
                          : load(vectors[m], of->models[m], first, count);
    for (int m = 0; m < of->number; m++)
        for (int n = m; n < of->number; n++) *products++ = inner(vectors[m], vectors[n], count);
    return found;
}

/* The same of any number of elements, added up as NumPy's sum of the products is. */
static int64_t inner_products(const Models *of, int64_t first, int64_t count, double *products) {
    if (count <= LEAF) return adamms_inner_products(of, first, count, products);
    double others[MAX_PAIRS];
    int64_t half = count / 2;
    half -= half % 8;
    int64_t found = inner_products(of, first, half, products);
    found |= inner_products(of, first + half, count - half, others);
    for (int pair = 0; pair < of->number * (of->number + 1) / 2; pair++) products[pair] += others[pair];
    return found;
}

/* The same of each of `rows` rows of `width` elements: `products` is (rows, pairs). */
int64_t adamms_products(
    int64_t rows, int64_t width, const Operand *models, int number, const Operand *base, double *products
) {
    const Models of = {models, base, number};
    int64_t found = 0;
    for (int64_t row = 0; row < rows && !found; row++)
        found |= inner_products(&of, row * width, width, products + row * number * (number + 1) / 2);
    return found;
}

/* The sum of any number of values, in NumPy's order. */
WIDE double adamms_sum(const double *values, int64_t count) {
    if (count <= LEAF) return added(values, count);
    int64_t half = count / 2;
    half -= half % 8;
    return adamms_sum(values, half) + adamms_sum(values + half, count - half);
}

/* Of softmax.py: the series, from their last term. */
#define LEAST_POWER (-700.0)
#define LOG2_E 0x1.71547652b82fep0
#define LN2 0x1.62e42fefa39efp-1
#define LN2_UPPER 0x1.62e42feep-1
#define LN2_LOWER 0x1.a39ef35793c76p-33
#define ROUNDING 0x1.8p52
#define EXPONENTIAL_TERMS 14
#define LOGARITHM_TERMS 11
static const double EXPONENTIAL[] = {
    1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0,
    1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 1 / 2.0, 1, 1,
};
static const double LOGARITHM[] = {
    2 / 21.0, 2 / 19.0, 2 / 17.0, 2 / 15.0, 2 / 13.0, 2 / 11.0, 2 / 9.0, 2 / 7.0, 2 / 5.0, 2 / 3.0, 2,
};

/* e to a power up to 0, and the logarithm of a quotient of probabilities: in arithmetic alone, as merge/softmax.py. */
INLINE double exponential(double power) {
    power = power < LEAST_POWER ? LEAST_POWER : power;
    double shifted = power * LOG2_E + ROUNDING, twos = shifted - ROUNDING, sum = EXPONENTIAL[0];
    double rest = (power - twos * LN2_UPPER) - twos * LN2_LOWER;
    for (int k = 1; k < EXPONENTIAL_TERMS; k++) sum = sum * rest + EXPONENTIAL[k];
    return sum * double_of((bits_of(shifted) + 1023) << 52);
}

INLINE double log_quotient(double over, double under) {
    int64_t twos = ((int64_t)(bits_of(over) - bits_of(under)) + (1LL << 51)) >> 52;
    under *= double_of((uint64_t)(twos + 1023) << 52);
    double part = (over - under) / (over + under), square = part * part, sum = LOGARITHM[0];
    for (int k = 1; k < LOGARITHM_TERMS; k++) sum = sum * square + LOGARITHM[k];
    return (double)(int32_t)twos * LN2 + part * sum;
}

/* Softmax of a row plus `more`; whether a value is infinite or NaN. */
WIDE int64_t adamms_softmax(double *restrict to, const Operand *from, int64_t first, int64_t width, double more) {
    double most[LEAF];
    int64_t found = load(to, *from, first, width), whole = width - width % LEAF;
    for (int k = 0; k < LEAF; k++) most[k] = to[0];
    for (int64_t i = 0; i < whole; i += LEAF)
        for (int k = 0; k < LEAF; k++) most[k] = to[i + k] > most[k] ? to[i + k] : most[k];
    for (int64_t i = whole; i < width; i++) most[0] = to[i] > most[0] ? to[i] : most[0];
    for (int k = 1; k < LEAF; k++) most[0] = most[k] > most[0] ? most[k] : most[0];
    for (int64_t i = 0; i < width; i++) to[i] = exponential(to[i] - most[0]);
    double share = 1 / adamms_sum(to, width);
    for (int64_t i = 0; i < width; i++) to[i] = to[i] * share + more;
    return found;
}

/* How far each of `rows` rows is from the base's, as `divergences` in softmax.py, to `found`. `room` is for three
   rows. Returns whether a value is infinite or NaN: then what is found is not to be used. */
WIDE int64_t adamms_divergences(
    int64_t rows, int64_t width, const Operand *model, const Operand *base, double more, double *restrict room,
    double *restrict found
) {
    double *restrict own = room, *restrict others = room + width, *restrict terms = room + 2 * width;
    int64_t failed = 0;
    for (int64_t row = 0; row < rows && !failed; row++) {
        failed |= adamms_softmax(own, model, row * width, width, more);
        failed |= adamms_softmax(others, base, row * width, width, more);
        for (int64_t i = 0; i < width; i++) terms[i] = own[i] * log_quotient(own[i], others[i]);
        double sum = adamms_sum(terms, width);
        found[row] = sum > 0 ? sum : 0;
    }
    return failed;
}

/* How many bits are sorted by at once, and into how many bins. */
#define DIGIT 8
#define DIGITS (1 << DIGIT)

/* Sorts whole numbers by their bits from `low` on, which are at most `bits`; the result is in `values` or in `other`. */
static uint64_t *sorted(uint64_t *values, uint64_t *other, int64_t count, int low, int bits) {
    for (int shift = low; shift < low + bits; shift += DIGIT) {
        int64_t places[DIGITS] = {0}, place = 0;
        for (int64_t i = 0; i < count; i++) places[values[i] >> shift & (DIGITS - 1)]++;
        for (int k = 0; k < DIGITS; k++) {
            int64_t here = places[k];
            places[k] = place;
            place += here;
        }
        for (int64_t i = 0; i < count; i++) other[places[values[i] >> shift & (DIGITS - 1)]++] = values[i];
        uint64_t *last = values;
        values = other;
        other = last;
    }
    return values;
}

/* The first plus the last place that each magnitude of a row has in ascending order, from 0. `room` is for two rows.
   Returns whether there is no result: a value is infinite or NaN, or has too many bits. */
WIDE int64_t adamms_places(int64_t width, const double *restrict row, uint64_t *restrict room, int64_t *restrict twice) {
    uint64_t any = 0, least = ~0ULL, most = 0;
    int low = 0, bits = 0;
    for (int64_t i = 0; i < width; i++) {
        uint64_t code = bits_of(magnitude(row[i]));
        any |= code;
        most = code > most ? code : most;
        least = code - 1 < least ? code - 1 : least; /* of those that are not 0 */
    }
    if (most >> 52 == 0x7ff) return 1;
    int unused = any ? __builtin_ctzll(any) : 0;
    least = (least + 1) >> unused;
    while ((width - 1) >> low) low++;
    while (any && ((most >> unused) + 1 - least) >> bits) bits++;
    if (low + bits > 64) return 1;
    for (int64_t i = 0; i < width; i++) {
        uint64_t code = bits_of(magnitude(row[i])) >> unused;
        room[i] = (code ? code + 1 - least : 0) << low | (uint64_t)i;
    }
    const uint64_t *found = sorted(room, room + width, width, low, bits);
    for (int64_t first = 0, last; first < width; first = last + 1) {
        for (last = first; last + 1 < width && found[last + 1] >> low == found[first] >> low;) last++;
        for (int64_t i = first; i <= last; i++) twice[found[i] & ((1ULL << low) - 1)] = first + last;
    }
    return 0;
}

/* Drops elements of rows at random, those small in their row more often, as della.py: keeps one with the
   probability lowest + range * its place / (width - 1), if its random `draws`, of 32 bits, are below it. `room` is
   for three rows. Returns how many rows are done: all, or those before one that has no places. */
WIDE int64_t adamms_thin(
    int64_t rows, int64_t width, double *restrict vectors, const uint32_t *restrict draws, double lowest,
    double range, int rescale, uint64_t *restrict room
) {
    int64_t row = 0, *twice = (int64_t *)(room + 2 * width);
    double last = 2.0 * (width - 1);
    for (; row < rows && !adamms_places(width, vectors, room, twice); row++, vectors += width, draws += width) {
        for (int64_t i = 0; i < width; i++) {
            double keep = (double)(int32_t)twice[i] / last * range + lowest;
            vectors[i] *= draws[i] * 0x1p-32 < keep ? 1.0 : 0.0;
            if (rescale) vectors[i] /= keep;
        }
    }
    return row;
}
