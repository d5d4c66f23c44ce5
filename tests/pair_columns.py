"""The columns of a trace as tests go through them: every statistic by space and name."""


def by_name(columns):
    """`h.…`, `z.…` and `p.…` -> the tensor, of `comparisons.PairStatistics`."""
    spaces = (("h", columns.h), ("z", columns.z), ("z", columns.shift), ("p", columns.p))
    return {
        f"{space}.{name}": values
        for space, fields in spaces
        for name, values in fields._asdict().items()
    }
