#!/usr/bin/env bash
# Get the headers that the native switcher is built with, without root:
#
#   bash third_party/fetch-headers.sh DEST     then: cmake -DCMAKE_PREFIX_PATH=DEST/usr ...
#
# They are Debian's own packages, unpacked into DEST and installed nowhere: apt works on state of
# its own, over the machine's mirror, and checks signatures against the machine's keyring. DEST
# appears whole or not at all; a second call does nothing. Exit status: 0 done, 1 with one line
# on stderr that says why not.
set -euo pipefail

PACKAGES=(libonnxruntime-dev nlohmann-json3-dev libdlpack-dev doctest-dev)
FALLBACK=trixie # the first Debian release that has them all; releases before it are not asked
OLDER=" buster bullseye bookworm "

fail() {
  echo "native headers: $1; instead, install ONNX Runtime's C headers, nlohmann_json, dlpack" \
    "and doctest, and set CMAKE_PREFIX_PATH (or ONNXRUNTIME_INCLUDE_DIR)" >&2
  exit 1
}

[ $# -eq 1 ] || { echo "usage: $0 DEST" >&2; exit 2; }
dest=$1
stamp="${PACKAGES[*]}"
if [ -e "$dest" ]; then
  [ "$(cat "$dest/.packages" 2>/dev/null)" != "$stamp" ] || exit 0
  [ -f "$dest/.packages" ] || fail "$dest exists and was not made here"
fi
for command in apt-get dpkg-deb; do
  command -v "$command" >/dev/null || fail "no $command here, so this is neither Debian nor Ubuntu"
done

ID='' VERSION_CODENAME=''
# shellcheck source=/dev/null
. /etc/os-release

# Mirrors that this machine's own release may come from; others' repositories use its name too.
mapfile -t mirrors < <(
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v own="$VERSION_CODENAME" '$1 == own || $1 ~ /^(stable|testing|unstable|sid)$/ {
      print ($2 ~ "/" id "/?$" ? 0 : 1), $2 }' id="$ID" | LC_ALL=C sort -u | cut -d ' ' -f 2
)
[ ${#mirrors[@]} -gt 0 ] || fail "apt knows no mirror of '$VERSION_CODENAME' on this machine"
keyring=/usr/share/keyrings/$ID-archive-keyring.gpg
options=
if [ -f "$keyring" ]; then options="[signed-by=$keyring] "; fi

case $ID in
  debian) components=main ;;
  *) components="main universe" ;;
esac
suites=()
[[ $OLDER == *" $VERSION_CODENAME "* ]] || suites+=("$VERSION_CODENAME")
[ "$ID" != debian ] || [ "$VERSION_CODENAME" = "$FALLBACK" ] || suites+=("$FALLBACK")

mkdir -p "$(dirname "$dest")"
work=$(mktemp -d "$dest.XXXXXX")
work=$(cd "$work" && pwd)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

apt() {
  apt-get -qq -o Dir::Etc::SourceList="$work/sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State="$work/state" -o Dir::State::Lists="$work/state/lists" \
    -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" -o Acquire::Languages=none \
    -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any \
    -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 "$@"
}

get() { # MIRROR SUITE
  echo "deb $options$1 $2 $components" >"$work/sources"
  rm -rf "$work/state" "$work/cache" "$work/debs"
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/debs" "$work/root"
  apt update && (cd "$work/debs" && apt download "${PACKAGES[@]}")
}

for mirror in "${mirrors[@]}"; do
  for suite in "${suites[@]}"; do
    get "$mirror" "$suite" >"$work/log" 2>&1 || continue
    for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
    chmod 755 "$work/root"
    echo "$stamp" >"$work/root/.packages"
    rm -rf "$dest"
    mv -T "$work/root" "$dest"
    exit 0
  done
done
why=$(grep -s -m 1 '^E: ' "$work/log" || tail -n 1 "$work/log" 2>/dev/null || true)
fail "apt could not get them from ${suites[*]:-any release of $ID} (${why:-nothing was tried})"
