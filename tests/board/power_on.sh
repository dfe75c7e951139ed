# Run as the first process of a machine's name spaces: makes its file system, then becomes its
# daemon.   sh power_on.sh NAME FOLDER ROOTFS HOME DAEMON [ARGUMENT]...
# FOLDER holds what lasts over a loss of power: home/, sys/, settings/ and the root file system's changes.
set -eu
name=$1 folder=$2 rootfs=$3 home=$4
shift 4
root=$folder/root
hostname "$name"
mkdir -p "$root" "$folder/changes" "$folder/overlay"
mount -t overlay -o "lowerdir=$rootfs,upperdir=$folder/changes,workdir=$folder/overlay" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$folder/sys" "$root/sys"
mkdir -p "$root$home" "$root/etc/settings"
mount --bind "$folder/home" "$root$home"
mount --bind "$folder/settings" "$root/etc/settings"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/sshd"
chmod 1777 "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
# The link is plugged in from outside.
tries=0
until ip link show eth0 >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 500 ] || exit 1
  sleep 0.02
done
exec chroot "$root" "$@"
