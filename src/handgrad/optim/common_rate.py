"""One learning rate for groups that have rates of their own."""

from handgrad.optim.optimizer import Optimizer


class CommonRate:
    """Sets the rates of all groups from one number, and keeps their proportions.

    A group whose rate was ``peak`` when this was made gets the number itself; one whose rate was twice as large, twice
    the number. So one schedule serves groups that differ, such as Muon's and AdamW's.
    """

    def __init__(self, optimizer: Optimizer, peak: float) -> None:
        self.optimizer = optimizer
        self.shares = [group["lr"] / peak for group in optimizer.param_groups]

    def set(self, lr: float) -> None:
        """Sets each group's rate to its share of ``lr``."""
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = lr * share
