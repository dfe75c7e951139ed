"""The readers, on copies of what boards show; and on this machine, whatever it has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.agent.sensors import NAMES, EnergyCounter, PowerMeter, find, read_all
from hwnas.agent.sensors.cpufreq import Cpufreq
from hwnas.agent.sensors.dumpsys import parse_battery, parse_thermalservice
from hwnas.agent.sensors.ina3221 import Ina3221
from hwnas.agent.sensors.rapl import Rapl
from hwnas.agent.sensors.rpi import RaspberryPi, parse_throttled, reasons
from hwnas.agent.sensors.thermal import Thermal
from hwnas.agent.wire import is_reading

THERMAL = "sys/class/thermal"
POWERCAP = "sys/class/powercap"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def put(root: Path, files: dict[str, object]) -> Path:
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def rapl_zone(zone: str, name: str, energy: int, limit: int = 1_000_000) -> dict[str, object]:
    folder = f"{POWERCAP}/{zone}"
    return {
        f"{folder}/name": name,
        f"{folder}/energy_uj": energy,
        f"{folder}/max_energy_range_uj": limit,
    }


def ina_channel(number: int, label: str, millivolts: int, milliamperes: int) -> dict[str, object]:
    chip = "sys/class/hwmon/hwmon3"
    return {
        f"{chip}/name": "ina3221",
        f"{chip}/in{number}_enable": 1,
        f"{chip}/in{number}_label": label,
        f"{chip}/in{number}_input": millivolts,
        f"{chip}/curr{number}_input": milliamperes,
    }


class TestFind:
    def test_where_nothing_is_everything_is_missing_with_a_reason(self, tmp_path: Path) -> None:
        readers, missing = find(root=tmp_path)
        assert readers == []
        assert set(missing) == set(NAMES)
        assert all(reason.startswith("not available here: ") for reason in missing.values())

    def test_only_what_is_asked_for_is_looked_at(self, tmp_path: Path) -> None:
        put(tmp_path, {f"{THERMAL}/thermal_zone0/temp": 50000, FIRMWARE: "0"})
        readers, missing = find(["rpi", "rapl"], tmp_path)
        assert [sensor.name for sensor in readers] == ["rpi"]
        assert list(missing) == ["rapl"]

    def test_an_unknown_name_is_missing_and_not_an_error(self, tmp_path: Path) -> None:
        assert "known: cpufreq" in find(["heat"], tmp_path)[1]["heat"]

    def test_what_this_machine_has_is_read_and_the_rest_has_a_reason(self) -> None:
        readers, missing = find()
        assert {sensor.name for sensor in readers} | set(missing) == set(NAMES)
        assert all(reason.startswith("not available here: ") for reason in missing.values())
        found = read_all(readers)
        assert all(value == value and abs(value) != float("inf") for value in found.values())
        if not readers:
            assert found == {}

    def test_one_that_fails_leaves_the_others_alone(self, tmp_path: Path) -> None:
        put(tmp_path, {f"{THERMAL}/thermal_zone0/temp": 50000})
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 5))
        readers, _ = find(root=tmp_path)
        assert set(read_all(readers)) == {"temperature_c", "energy_j"}
        (tmp_path / POWERCAP / "intel-rapl:0/energy_uj").unlink()
        assert read_all(readers) == {"temperature_c": 50.0}


class TestThermal:
    def test_the_hottest_zone_counts(self, tmp_path: Path) -> None:
        for number, (kind, value) in enumerate(
            [("cpu-thermal", 48100), ("gpu-thermal", 51700), ("cpu-thermal", 49000)]
        ):
            zone = f"{THERMAL}/thermal_zone{number}"
            put(tmp_path, {f"{zone}/type": kind, f"{zone}/temp": value})
        sensor = Thermal(tmp_path)
        assert sensor.zones() == {"cpu-thermal": 49.0, "gpu-thermal": 51.7}
        assert sensor.read() == {"temperature_c": 51.7}

    @pytest.mark.parametrize("value", [0, -274000, 200000, "N/A", "", "9" * 30])
    def test_what_no_sensor_can_show_is_unknown(self, tmp_path: Path, value: object) -> None:
        put(tmp_path, {f"{THERMAL}/thermal_zone0/temp": value})
        assert Thermal(tmp_path).missing()
        assert Thermal(tmp_path).read() == {}


class TestCpufreq:
    def test_the_slowest_of_the_cores_counts(self, tmp_path: Path) -> None:
        for core, clock in enumerate([600000, 1500000, 900000]):
            path = f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
            put(tmp_path, {path: clock})
        assert Cpufreq(tmp_path, (1, 2)).read() == {"frequency_khz": 900000.0}
        assert Cpufreq(tmp_path, (9,)).read() == {}
        assert Cpufreq(tmp_path, (9,)).missing()


class TestRapl:
    def test_packages_are_counted_and_their_parts_are_not(self, tmp_path: Path) -> None:
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 100))
        put(tmp_path, rapl_zone("intel-rapl:1", "package-1", 200))
        put(tmp_path, rapl_zone("intel-rapl:2", "psys", 900))
        put(tmp_path, rapl_zone("intel-rapl:0:0", "core", 70))
        put(tmp_path, rapl_zone("intel-rapl-mmio:0", "package-0", 100))
        sensor = Rapl(tmp_path)
        assert sensor.source == "rapl:package-0+package-1"
        assert sensor.joules() == 0.0
        for zone, energy in (("0", 300_100), ("1", 500_200), ("2", 999_999), ("0:0", 999_999)):
            put(tmp_path, {f"{POWERCAP}/intel-rapl:{zone}/energy_uj": energy})
        assert sensor.joules() == pytest.approx(0.8)

    def test_a_counter_that_starts_anew_goes_on_counting(self, tmp_path: Path) -> None:
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 900_000))
        sensor = Rapl(tmp_path)
        sensor.joules()
        for energy in (100_000, 50_000):
            put(tmp_path, {f"{POWERCAP}/intel-rapl:0/energy_uj": energy})
            sensor.joules()
        assert sensor.joules() == pytest.approx(0.2 + 0.95)

    def test_a_counter_that_goes_away_is_an_error_and_not_0(self, tmp_path: Path) -> None:
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 900_000))
        sensor = Rapl(tmp_path)
        sensor.joules()
        for value in ("", "nonsense", 1_000_001, -1):
            put(tmp_path, {f"{POWERCAP}/intel-rapl:0/energy_uj": value})
            with pytest.raises(OSError, match="cannot be read"):
                sensor.joules()

    def test_without_a_range_it_is_missing(self, tmp_path: Path) -> None:
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 1, limit=0))
        assert "max_energy_range_uj is not shown" in Rapl(tmp_path).missing()

    @pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become somebody else")
    def test_to_others_than_root_it_says_who_can_read_it(self, tmp_path: Path) -> None:
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 1))
        (tmp_path / POWERCAP / "intel-rapl:0/energy_uj").chmod(0o400)
        # Somebody else may not even pass through pytest's folder.
        for folder in [tmp_path, *tmp_path.parents]:
            if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        code = (
            "import os, sys; from pathlib import Path\n"
            "from hwnas.agent.sensors.rapl import Rapl\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "print(Rapl(Path(sys.argv[1])).missing())\n"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "can be read by root only" in done.stdout

    def test_it_is_a_counter_and_no_meter(self, tmp_path: Path) -> None:
        put(tmp_path, rapl_zone("intel-rapl:0", "package-0", 1))
        assert isinstance(Rapl(tmp_path), EnergyCounter)
        assert not isinstance(Rapl(tmp_path), PowerMeter)


class TestIna3221:
    def test_rails_are_volts_times_amperes(self, tmp_path: Path) -> None:
        put(tmp_path, ina_channel(1, "VDD_IN", 5000, 1200))
        put(tmp_path, ina_channel(2, "VDD_CPU_GPU_CV", 5000, 400))
        sensor = Ina3221(tmp_path)
        assert isinstance(sensor, PowerMeter)
        assert not isinstance(sensor, EnergyCounter)
        assert sensor.source == "ina3221:VDD_IN"
        assert sensor.watts() == pytest.approx(6.0)
        assert sensor.read() == pytest.approx(
            {"power_w": 6.0, "power_w.VDD_IN": 6.0, "power_w.VDD_CPU_GPU_CV": 2.0}
        )

    def test_power_is_taken_where_the_driver_shows_it(self, tmp_path: Path) -> None:
        put(tmp_path, ina_channel(1, "VDD_IN", 5000, 1200))
        put(tmp_path, {"sys/class/hwmon/hwmon3/power1_input": 7_000_000})
        assert Ina3221(tmp_path).watts() == pytest.approx(7.0)

    def test_channels_that_are_off_and_other_chips_are_left_out(self, tmp_path: Path) -> None:
        put(tmp_path, ina_channel(1, "VDD_IN", 5000, 1200))
        put(tmp_path, ina_channel(2, "OFF", 5000, 1200))
        put(tmp_path, {"sys/class/hwmon/hwmon3/in2_enable": 0})
        put(tmp_path, {"sys/class/hwmon/hwmon4/name": "nvme"})
        put(tmp_path, {"sys/class/hwmon/hwmon4/in1_input": 1})
        assert set(Ina3221(tmp_path).rails()) == {"VDD_IN"}

    def test_a_label_of_several_words_makes_a_name_that_can_be_told(self, tmp_path: Path) -> None:
        put(tmp_path, ina_channel(1, "CPU GPU/CV\u00e9", 5000, 1200))
        [name] = Ina3221(tmp_path).read()
        assert name.startswith("power_w.CPU_GPU_CV") and is_reading(name, 6.0)

    def test_without_a_rail_of_the_module_its_power_is_unknown(self, tmp_path: Path) -> None:
        put(tmp_path, ina_channel(1, "VDD_GPU_SOC", 5000, 1200))
        sensor = Ina3221(tmp_path)
        assert sensor.read() == pytest.approx({"power_w.VDD_GPU_SOC": 6.0})
        with pytest.raises(OSError, match="VDD_IN"):
            sensor.watts()


class TestRaspberryPi:
    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("0", 0), ("50005", 0x50005), ("throttled=0x50000\n", 0x50000), ("0xE0008", 0xE0008),
            ("", None), ("throttled=", None), ("error", None), ("-1", None), ("1" * 9, None),
            ("0x 5", None), ("VCHI initialization failed", None),
        ],
    )  # fmt: skip
    def test_the_word_is_hexadecimal(self, text: str, word: int | None) -> None:
        assert parse_throttled(text) == word

    def test_low_bits_are_now_and_high_ones_since_boot(self) -> None:
        assert reasons(0x50005) == ["under-voltage", "throttled"]
        assert reasons(0x50005, since_boot=True) == ["under-voltage", "throttled"]
        assert reasons(0x80000) == []
        assert reasons(0x80000, since_boot=True) == ["soft temperature limit"]
        assert reasons(0xA) == ["clock capped", "soft temperature limit"]

    @pytest.mark.parametrize("path", [FIRMWARE, FIRMWARE.replace("soc/soc:", "soc@10/soc@10:")])
    def test_the_kernels_file_is_read(self, tmp_path: Path, path: str) -> None:
        put(tmp_path, {path: "50000"})
        assert RaspberryPi(tmp_path).read() == {"rpi_throttled": float(0x50000)}
        put(tmp_path, {path: "nonsense"})
        assert RaspberryPi(tmp_path).read() == {}
        assert "firmware does not tell" in RaspberryPi(tmp_path).missing()

    def test_the_command_is_asked_where_there_is_no_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command = tmp_path / "vcgencmd"
        command.write_text('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x20002\n')
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert RaspberryPi().read() == {"rpi_throttled": float(0x20002)}
        command.write_text("#!/bin/sh\necho error >&2; exit 1\n")
        assert "group video" in RaspberryPi().missing()


THERMALSERVICE = """IsStatusOverride: false
Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=OLD, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=41.6, mType=0, mName=AP, mStatus=0}
\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}
\tTemperature{mValue=NaN, mType=4, mName=USB, mStatus=0}
\tTemperature{mValue=33.8, mType=2, mName=BAT, mStatus=1}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 87
  scale: 100
  temperature: 281
  technology: Li-ion
"""


class TestDumpsys:
    def test_thermalservice(self) -> None:
        found = parse_thermalservice(THERMALSERVICE)
        assert found.status == "moderate"
        assert found.temperatures == {"AP": 41.6, "BAT": 33.8}

    def test_battery(self) -> None:
        found = parse_battery(BATTERY)
        assert (found.level, found.temperature_c, found.powered) == (87, 28.1, True)

    @pytest.mark.parametrize("text", ["", "Thermal Status: 9", "Can't find service: battery"])
    def test_what_is_not_said_is_unknown(self, text: str) -> None:
        heat, battery = parse_thermalservice(text), parse_battery(text)
        assert (heat.status, heat.temperatures) == (None, {})
        assert (battery.level, battery.temperature_c, battery.powered) == (None, None, None)

    @given(st.text(max_size=300) | st.text("Temperature{}mValue=01., Nas:\n HAL", max_size=300))
    def test_any_text_is_read_or_left(self, text: str) -> None:
        heat = parse_thermalservice(THERMALSERVICE + text)
        assert all(-40 < celsius < 150 for celsius in heat.temperatures.values())
        battery = parse_battery(text + BATTERY)
        assert battery.level is None or 0 <= battery.level <= 100
