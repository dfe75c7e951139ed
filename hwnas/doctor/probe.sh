# What a device tells of itself, as sections that begin with a line "$1 NAME". Changes nothing.
# $1: mark, new in each call; $2: work folder; $3: Python's command, or empty; $4: where /sys and
# /proc are, empty but for tests.
# For dash, BusyBox, mksh with toybox: no awk, no arrays, no local variables.
mark=$1 work=$2 python=$3 root=$4
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL
case $work in "~"/*) work=$HOME${work#"~"} ;; esac
case $python in "~"/*) python=$HOME${python#"~"} ;; esac

section() { printf '\n%s %s\n' "$mark" "$1"; }
word() { head -c 200 "$1" 2>/dev/null | tr '\n|' '  '; }
cpus=$root/sys/devices/system/cpu

section clock
date -u +%s

section system
uname -s; uname -r; uname -m

section cpu
grep -E '^(model name|CPU implementer|CPU part|Hardware|Model)' "$root/proc/cpuinfo" 2>/dev/null | sort -u

section cores
for file in online isolated; do printf '%s|%s\n' "$file" "$(word "$cpus/$file")"; done
printf 'allowed|%s\n' "$(grep Cpus_allowed_list "$root/proc/self/status" 2>/dev/null | tr -d '\t ' | cut -d: -f2)"

section memory
grep -E '^(MemTotal|MemAvailable|SwapTotal|SwapFree):' "$root/proc/meminfo" 2>/dev/null

section uptime
word "$root/proc/uptime"

section clocks
for folder in "$cpus"/cpu[0-9]*/cpufreq; do
    [ -r "$folder/scaling_governor" ] || continue
    core=${folder%/cpufreq}
    writable=no
    if [ -w "$folder/scaling_governor" ]; then writable=yes; fi
    printf '%s|%s|%s|%s|%s|%s\n' "${core##*/cpu}" "$(word "$folder/scaling_governor")" \
        "$(word "$folder/scaling_cur_freq")" "$(word "$folder/scaling_max_freq")" \
        "$(word "$folder/cpuinfo_max_freq")" "$writable"
done

section thermal
for zone in "$root"/sys/class/thermal/thermal_zone*; do
    [ -r "$zone/temp" ] || continue
    printf '%s|%s\n' "$(word "$zone/type")" "$(word "$zone/temp")"
done

section energy
for file in "$root"/sys/class/powercap/intel-rapl:[0-9]*/energy_uj; do
    [ -e "$file" ] || continue
    if head -c 1 "$file" >/dev/null 2>&1; then echo 'rapl|yes'; else echo 'rapl|no'; fi
done
for file in "$root"/sys/class/hwmon/hwmon*/name; do
    [ "$(word "$file")" = 'ina3221 ' ] || [ "$(word "$file")" = ina3221 ] || continue
    total=no # only a rail that feeds the whole module tells the energy of a run
    if grep -qE '^(VDD_IN|POM_5V_IN)$' "${file%/name}"/in*_label 2>/dev/null; then total=yes; fi
    printf 'ina3221|%s\n' $total
done

section rpi
for file in "$root"/sys/devices/platform/soc*/soc*firmware/get_throttled; do
    [ -r "$file" ] && word "$file" && echo
done
command -v vcgencmd >/dev/null 2>&1 && vcgencmd get_throttled 2>/dev/null

section quota
while IFS=: read -r _ names group; do
    case ",$names," in ,, | *,cpu,*) ;; *) continue ;; esac
    while :; do
        for top in "" "/$names" /cpu /unified; do
            folder=$root/sys/fs/cgroup$top$group
            [ -r "$folder/cpu.max" ] && printf 'max|%s\n' "$(word "$folder/cpu.max")"
            [ -r "$folder/cpu.cfs_quota_us" ] && printf 'max|%s %s\n' \
                "$(word "$folder/cpu.cfs_quota_us")" "$(word "$folder/cpu.cfs_period_us")"
            [ -r "$folder/cpu.stat" ] && grep '^nr_throttled ' "$folder/cpu.stat"
        done
        [ -n "${group%/}" ] || break
        group=${group%/*}
    done
done <"$root/proc/self/cgroup" 2>/dev/null

section libc
getconf GNU_LIBC_VERSION 2>/dev/null ||
    { command -v getprop >/dev/null 2>&1 && echo "bionic $(getprop ro.build.version.release)"; } ||
    ldd --version 2>&1 | head -n 2

section work
folder=$work
while [ ! -d "$folder" ] && [ "${folder%/*}" != "$folder" ]; do folder=${folder%/*}; done
[ -n "$folder" ] || folder=/
writable=no
if [ -d "$folder" ] && [ -w "$folder" ] && [ -x "$folder" ]; then writable=yes; fi
printf '%s|%s\n' "$writable" "$folder"
df -Pk "$folder" 2>/dev/null | tail -n 1

section mounts
cut -d ' ' -f 2,4 "$root/proc/mounts" 2>/dev/null | head -n 400

section tools
for tool in sha256sum setsid nohup sync; do
    command -v $tool >/dev/null 2>&1 && echo $tool
done

section environment
printf 'telemetry|%s\n' "$(printf %s "${ORT_DISABLE_TELEMETRY-}" | head -c 20 | tr '\n|' '  ')"

section android
if command -v dumpsys >/dev/null 2>&1; then
    dumpsys thermalservice 2>/dev/null | head -c 30000
    dumpsys battery 2>/dev/null | head -c 3000
fi

section python
if [ -n "$python" ]; then
    export ORT_DISABLE_TELEMETRY=1
    for module in sys numpy onnxruntime; do
        printf '%s|%s\n' $module "$("$python" -c 'import sys
found = __import__(sys.argv[1])
version = getattr(found, "__version__", None) or ".".join(map(str, sys.version_info[:3]))
print("version", version)' $module 2>&1 | tail -n 1 | head -c 300 | tr '|' ' ')"
    done
fi

# Last, after the other commands of this script have ended: who else uses the cores.
for sample in 1 2; do
    section busy$sample
    word "$root/proc/uptime"; echo
    head -n 1 "$root/proc/stat" 2>/dev/null
    cat "$root"/proc/[0-9]*/stat 2>/dev/null | head -c 200000
    [ $sample = 2 ] || sleep 1
done

section end
