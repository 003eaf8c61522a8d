// Contrast of letters against what is behind them, as WCAG 2 computes it: selectors -> {selector: ratio}.
(kinds) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (colours) => { // painted over each other
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (kind) => {
    const element = document.querySelector(kind), layers = [];
    for (let one = element; one; one = one.parentElement)
      layers.unshift(getComputedStyle(one).backgroundColor);
    const both = [luminance(layers), luminance([...layers, getComputedStyle(element).color])];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  return Object.fromEntries(kinds.map((kind) => [kind, ratio(kind)]));
}
