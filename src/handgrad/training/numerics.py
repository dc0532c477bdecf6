"""What the bits of a result depend on besides the run's settings: replicas, backend, libraries, processor."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from handgrad import __version__
from handgrad.backend import current_backend
from handgrad.records import record

# Their versions are kept with the run, but no number passes through them.
_WITHOUT_NUMBERS = ("python", "safetensors", "threadpoolctl")


@dataclass(frozen=True)
class Numerics:
    """Where two of these are equal, a run goes on bit for bit."""

    replicas: int
    backend: str
    blas: str
    """The library that multiplies, its version, and the processor that its kernels were made for."""
    blas_threads: int
    """Of each replica."""
    processor: str
    system: str
    versions: dict[str, str]

    @classmethod
    def here(cls, replicas: int) -> "Numerics":
        """Those of this process."""
        backend = current_backend()
        blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
        names = (f"{library['internal_api']} {library['version']} {library.get('architecture')}" for library in blas)
        return cls(
            replicas=replicas,
            backend=backend,
            blas=", ".join(dict.fromkeys(names)) or "unknown",
            blas_threads=1 if replicas > 1 else max((library["num_threads"] for library in blas), default=1),
            processor=_processor(backend),
            system=" ".join((platform.system(), platform.machine(), *platform.libc_ver())),
            versions=_versions(backend),
        )

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Numerics":
        """From what ``content`` gave. Raises ValueError where it has not these fields and types."""
        versions = content.get("versions")
        if not isinstance(versions, dict) or not all(isinstance(text, str) for text in versions.values()):
            raise ValueError("versions must be an object of texts")
        rest = record(_WithoutVersions, {name: value for name, value in content.items() if name != "versions"})
        if rest.replicas < 1:
            raise ValueError(f"replicas must be at least 1, not {rest.replicas}")
        return cls(**asdict(rest), versions=dict(versions))

    def content(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def differences(self, now: "Numerics") -> list[str]:
        """What is different now, in words; empty where a run goes on bit for bit."""
        before, after = self._flat(), now._flat()
        return [
            f"{name} was {before.get(name, 'not there')} and is {after.get(name, 'not there')}"
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]

    def _flat(self) -> dict[str, Any]:
        values = {name.replace("_", " "): value for name, value in asdict(self).items() if name != "versions"}
        return values | {name: text for name, text in self.versions.items() if name not in _WITHOUT_NUMBERS}


@dataclass(frozen=True)
class _WithoutVersions:
    replicas: int
    backend: str
    blas: str
    blas_threads: int
    processor: str
    system: str


def _processor(backend: str) -> str:
    """What NumPy chooses its loops by and, with Numba, what LLVM compiles for."""
    found = np.show_config(mode="dicts").get("SIMD Extensions", {})
    name = ""
    if backend == "numba":
        from llvmlite.binding import get_host_cpu_name

        name = get_host_cpu_name()
    return " ".join([platform.machine(), name, *found.get("baseline", ()), *found.get("found", ())]).replace("  ", " ")


def _versions(backend: str) -> dict[str, str]:
    compilers = ("numba", "llvmlite") if backend == "numba" else ()
    libraries = installed_versions("numpy", *compilers, "safetensors", "threadpoolctl")
    return {"handgrad": __version__, "python": platform.python_version()} | libraries


def installed_versions(*packages: str) -> dict[str, str]:
    """The versions of those that are installed; a folder that can be imported by such a name is none of them."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
