"""What an architecture says of one tensor: its roles in the LM and how they lie in it, or why it has none."""

from dataclasses import dataclass, replace

from adamms.architectures.roles import Role


@dataclass(frozen=True)
class Fused:
    """Several roles in one tensor, concatenated along `dim`.

    Args:
        parts: the roles, in order.
        dim: the dimension along which they lie.
        sizes: each part's relative size, a number or a key of config.json; () for equal ones.
        groups: the number of groups, or a key of config.json; each has its share of every part.
    """

    parts: tuple[Role, ...]
    dim: int
    sizes: tuple[int | str, ...] = ()
    groups: int | str = 1


@dataclass(frozen=True)
class Stacked:
    """All experts of a layer in one tensor, along its first dimension.

    Args:
        each: the role of one expert's matrix, or its roles if it is fused; without the expert's number.
        transposed: whether the matrices lie as (in, out), where shapes do not tell; None where nothing does.
    """

    each: Role | Fused
    transposed: bool | None = None


@dataclass(frozen=True)
class Label:
    """What an architecture says of one tensor: its role in the LM, or the reason why it has none.

    Args:
        role: what it is; None if it is not of the LM.
        reason: why it is kept.
        rows: how many of its leading rows have that role, the others being the model's own; None for all.
    """

    role: Role | Fused | Stacked | None
    reason: str = ""
    rows: int | None = None

    @property
    def parts(self) -> tuple[Role, ...]:
        """The roles in the tensor: several if it is fused, none if it is not of the LM.

        Of a stack those of all experts together.
        """
        one = self.role.each if isinstance(self.role, Stacked) else self.role
        if isinstance(one, Fused):
            return one.parts
        return () if one is None else (one,)

    def counted(self, layer: int) -> "Label":
        """The same in another layer."""

        def moved(role: Role | Fused) -> Role | Fused:
            if isinstance(role, Role):
                return replace(role, layer=layer)
            return replace(role, parts=tuple(replace(part, layer=layer) for part in role.parts))

        if self.role is None:
            return self
        if isinstance(self.role, Stacked):
            return replace(self, role=replace(self.role, each=moved(self.role.each)))
        return replace(self, role=moved(self.role))
