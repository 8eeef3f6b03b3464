"""Whether a backend says that it cannot be used here: the one reason for which its tests may be left out."""

from ..backend import registry

__all__ = ["stated_reason"]


def stated_reason(spec: str) -> str | None:
    """Return what the class behind `spec` answers to `why_unavailable`; None if it is usable, or there is no class.

    The class is asked itself: the registry takes an exception for a no, and here that is a mistake of the backend's.
    """
    name, _, distribution = registry._parse(spec)
    cls = registry._resolve(name, distribution)
    if not isinstance(cls, type):
        return None
    try:
        return cls.why_unavailable()
    except Exception:
        return None
