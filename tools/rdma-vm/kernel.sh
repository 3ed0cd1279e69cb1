# shellcheck shell=bash
# shellcheck disable=SC2154  # $here comes from rdma-vm
# Part of rdma-vm: what a VM boots. Debian's kernel package is downloaded, never installed, and
# unpacked into a cache; the initramfs holds busybox, the modules needed up to the root file
# system, and `init`. Everything else the VM reads from this machine.

cache=${RDMA_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rdma-vm}
kernel_package=${RDMA_VM_KERNEL:-}

# Loaded at boot, with what they depend on. `modprobe` in the VM brings any other.
modules='virtio_pci virtio_net virtio_console 9pnet_virtio 9p overlay fuse dummy
         crc32_generic ib_uverbs rdma_cm rdma_ucm rdma_rxe'

# Sets $kernel and $initramfs. `setup fresh` asks the mirror for a newer kernel.
setup() {
    [[ $(uname -m) == x86_64 ]] || die "runs on x86_64 only, this is $(uname -m)"
    install_missing
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    rm -rf "$cache"/tmp.*
    if [[ ${1-} == fresh || ! -e $cache/kernel/vmlinux ]]; then
        [[ -n $kernel_package ]] || kernel_package=$(default_kernel)
        get_kernel || { apt-get update -q >&2 && get_kernel; } ||
            die "could not download the kernel package $kernel_package"
    fi
    kernel=$(readlink -f "$cache/kernel")
    initramfs=$kernel/initramfs-$(cat "$here/kernel.sh" "$here/init" | cksum | cut -d' ' -f1)
    if [[ ! -e $initramfs ]]; then
        find "$kernel/" -name 'initramfs-*' -mtime +7 -delete
        build_initramfs "$initramfs"
    fi
    exec 9>&-
}

install_missing() {
    local pair missing=()
    for pair in qemu-system-x86_64:qemu-system-x86 cpio:cpio modprobe:kmod xz:xz-utils \
        busybox:busybox-static rdma:iproute2; do
        command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    # A package of the other name brings a busybox that needs a libc.
    if ldd "$(command -v busybox)" >/dev/null 2>&1; then missing+=(busybox-static); fi
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (this is no Debian or Ubuntu)"
    [[ $EUID == 0 ]] || die "please run: sudo apt-get install -y ${missing[*]}"
    say "installing ${missing[*]}"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "${missing[@]}"; } >&2 </dev/null ||
        die "could not install ${missing[*]}"
}

# Debian's or Ubuntu's name of their usual kernel.
default_kernel() {
    if apt-cache show linux-image-amd64 >/dev/null 2>&1; then echo linux-image-amd64
    else echo linux-image-generic; fi
}

# Downloads the kernel and unpacks it into $cache/NAME_VERSION.
get_kernel() {
    local package extra tmp folder version deb
    package=$(apt-cache depends --important "$kernel_package" 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
    [[ -n $package ]] || package=$kernel_package
    tmp=$(mktemp -d "$cache/tmp.XXXXXX")
    say "downloading $package"
    (cd "$tmp" && { apt-get download -q "$package" || apt-get download -q "$package-unsigned"; } >&2) ||
        return 1
    folder=$(cd "$tmp" && echo ./*.deb)
    folder=$cache/$(basename "${folder%.deb}")
    if [[ ! -d $folder ]]; then
        if [[ $package == *-generic ]]; then # Ubuntu's: the modules are packages of their own
            for extra in modules modules-extra; do
                (cd "$tmp" && apt-get download -q "linux-$extra-${package#linux-image-}" >&2) || true
            done
        fi
        say "unpacking $package"
        mkdir "$tmp/k"
        for deb in "$tmp"/*.deb; do
            dpkg-deb --fsys-tarfile "$deb" | tar -xC "$tmp/k" \
                --exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/sound' ||
                die "could not unpack ${deb##*/}"
        done
        version=$(cd "$tmp/k/lib/modules" && echo *)
        { depmod -b "$tmp/k" "$version" &&
            unpack_vmlinux "$tmp/k/boot/vmlinuz-$version" "$tmp/k/vmlinux" &&
            mv "$tmp/k" "$folder"; } || die "could not unpack $package into $cache"
    fi
    rm -rf "$tmp"
    ln -sfn "${folder##*/}" "$cache/kernel"
}

# Unpacks the payload of a bzImage, whose place its header tells (the kernel's
# Documentation/arch/x86/boot.rst): unpacked by the VM itself it costs 4 s of every start. One that
# is packed by something else than xz is booted as it is.
unpack_vmlinux() {
    local int='od -An -v -tu4 -N4' sectors offset length
    sectors=$(od -An -tu1 -j497 -N1 "$1")
    offset=$($int -j584 "$1")
    length=$($int -j588 "$1")
    offset=$(((sectors + 1) * 512 + offset))
    tail -c +$((offset + 1)) "$1" | head -c "$length" | xz -dc --single-stream >"$2" 2>/dev/null || true
    [[ $(head -c4 "$2" | tr -d '\0') == $'\177ELF' ]] || cp "$1" "$2"
}

build_initramfs() {
    local version tmp file
    version=$(cd "$kernel/lib/modules" && echo *)
    tmp=$(mktemp -d "$cache/tmp.XXXXXX")
    mkdir -p "$tmp"/{bin,dev,proc,sys,modules,lower,rw,new}
    cp "$(command -v busybox)" "$tmp/bin/busybox"
    install -m 755 "$here/init" "$tmp/init"
    for file in $modules; do
        modprobe -S "$version" -d "$kernel" --show-depends "$file" ||
            die "kernel $version has no module $file"
    done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r file; do
        unpack_module "$file" "$tmp/modules"
    done
    (cd "$tmp" && find . | cpio -o -H newc --quiet) >"$1.new"
    mv "$1.new" "$1"
    rm -rf "$tmp"
}

# Copies a module FILE into FOLDER and lists it there. busybox' insmod reads plain ones only.
unpack_module() {
    local name=${1##*/}
    case $name in
        *.ko) cp "$1" "$2/" ;;
        *.ko.xz) name=${name%.xz}; xz -dc "$1" >"$2/$name" ;;
        *.ko.zst) name=${name%.zst}; zstd -qdc "$1" >"$2/$name" || die "please install zstd" ;;
        *) die "module $name is packed in an unknown way" ;;
    esac
    echo "$name" >>"$2/list"
}
