#!/bin/sh
# Build an image of the Dockerfile without a Docker engine: buildah, each RUN in a chroot, on a base made by debootstrap.
#
#   deploy/build.sh base            make the base image, svfit-base (Debian, python3, venv, certificates)
#   deploy/build.sh serve           build svfit-serve on it (make the base first where there is none)
#   deploy/build.sh train           build svfit-train; more options of buildah may follow
#
# As root, on Debian or Ubuntu: apt-get install buildah debootstrap. Environment: BASE (another base image), SUITE
# (default bookworm), MIRROR (default http://deb.debian.org/debian). pip's configuration and the machine's
# certificates are mounted while building, so that a mirror of one's own is used; nothing of them stays in the image.
set -eu
BASE=${BASE:-localhost/svfit-base}
SUITE=${SUITE:-bookworm}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
export BUILDAH_ISOLATION=chroot

need() {
    command -v "$1" >/dev/null || { echo "$0: $1 is missing; try: apt-get install buildah debootstrap" >&2; exit 1; }
}

make_base() {
    need debootstrap
    rootfs=$(mktemp -d)
    trap 'rm -rf "$rootfs"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$SUITE" "$rootfs" "$MIRROR" >&2
    rm -rf "$rootfs"/var/cache/apt/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/* "$rootfs"/usr/share/doc/* \
        "$rootfs"/usr/share/man/* "$rootfs"/usr/share/locale/*
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$rootfs" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd '["python3"]' "$container"
    buildah commit --quiet --rm "$container" localhost/svfit-base >&2
}

# pip's settings on this machine, as mounts and build-time variables of a build.
mirrors() {
    for path in /etc/pip.conf /etc/xdg/pip /etc/ssl/certs "$HOME/.config/pip"; do
        target=$path
        [ "$path" != "$HOME/.config/pip" ] || target=/root/.config/pip
        [ ! -e "$path" ] || printf '%s\n' --volume "$path:$target:ro"
    done
    # Folders of packages that they name; an index's files lie beside its folder "simple".
    { python3 -m pip config list 2>/dev/null || :; } | tr " '\"" '\n\n\n' | sed -n 's|^file://||; s|/simple/*$||; /^\/./p' |
        sort -u | while read -r folder; do
            [ ! -d "$folder" ] || printf '%s\n' --volume "$folder:$folder:ro"
        done
}

build() {
    target=$1
    shift
    if [ "$BASE" = localhost/svfit-base ] && ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
        make_base
    fi
    root=$(cd "$(dirname "$0")/.." && pwd)
    revision=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || :)
    # The list has no spaces within a word: one argument a line.
    # shellcheck disable=SC2046
    buildah build --format docker --network host --layers --target "$target" --tag "localhost/svfit-$target" \
        --build-arg BASE="$BASE" --build-arg REVISION="$revision" $(mirrors) "$@" "$root" >&2
    buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' "localhost/svfit-$target"
}

need buildah
case ${1-} in
base) make_base ;;
serve | train) build "$@" ;;
*) echo "usage: $0 base | serve | train [BUILD OPTIONS]" >&2; exit 2 ;;
esac
