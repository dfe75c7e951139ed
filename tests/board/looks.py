"""What the emulated board shows of itself: the parts of ``/sys`` that hwnas reads, as on a Pi."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CORES", "ENVIRONMENT", "write_sys"]

CORES = 2
"""Cores that the board shows; what it may really use is the host's."""

ENVIRONMENT = {"QEMU_CPU": "cortex-a72", "QEMU_UNAME": "6.6.31-v8"}
"""What QEMU shows as the CPU (also in ``/proc/cpuinfo``) and as the kernel."""

_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"


def write_sys(root: Path, governor: str = "powersave", throttled: int = 0x50000) -> None:
    """Write the tree below ``root``, which is mounted as the board's ``/sys``.

    Args:
        root: An empty folder, or one that this has written.
        governor: Of every core.
        throttled: The firmware's word: low bits now, bits 16 to 19 since it was switched on.
    """
    shown = f"0-{CORES - 1}\n"
    files = {
        "devices/system/cpu/online": shown,
        "devices/system/cpu/possible": shown,
        "devices/system/cpu/present": shown,
        "devices/system/cpu/isolated": "\n",
        "class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "class/thermal/thermal_zone0/temp": "51121\n",
        _THROTTLED: f"{throttled:x}\n",
        "fs/cgroup/cgroup.controllers": "cpu io memory pids\n",
        "fs/cgroup/cpu.stat": "usage_usec 1\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    }
    for core in range(CORES):
        folder = f"devices/system/cpu/cpu{core}/cpufreq"
        files |= {
            f"{folder}/scaling_governor": f"{governor}\n",
            f"{folder}/scaling_available_governors": "performance powersave ondemand\n",
            f"{folder}/scaling_cur_freq": "600000\n",
            f"{folder}/scaling_min_freq": "600000\n",
            f"{folder}/scaling_max_freq": "1500000\n",
            f"{folder}/cpuinfo_min_freq": "600000\n",
            f"{folder}/cpuinfo_max_freq": "1500000\n",
        }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # whoever may write it now
        path.write_text(text)
