# shellcheck shell=bash
# shellcheck disable=SC2154  # options, $kernel and $initramfs come from rdma-vm and kernel.sh
# Part of rdma-vm: starts the QEMU processes, carries out `ctl` requests while they run, and
# makes one status of theirs.

pid=() status=() killed=() signal=() unread=() readers=() drains=() ctl_seen=0

# Runs all hosts to their end; returns the status of the run.
run_machines() {
    local n now deadline=$((SECONDS + timeout)) grace='' alive stopped='' final=0
    for ((n = 1; n <= hosts; n++)); do start_machine "$n"; done
    while :; do
        sleep 0.1
        do_requests
        alive=()
        for ((n = 1; n <= hosts; n++)); do
            [[ -z ${status[n]-} ]] || continue
            if kill -0 "${pid[n]}" 2>/dev/null; then alive+=("$n"); continue; fi
            { wait "${pid[n]}" || true; } 2>/dev/null # bash announces killed jobs otherwise
            take_status "$n"
            # The other host is stopped with the main one, and 10 s after a failure.
            if [[ $until == "$n" ]]; then
                stopped=stopped deadline=$SECONDS
            elif [[ -z $until$grace && ${status[n]} != 0 && ${status[n]} != killed ]]; then
                grace=1 stopped=stopped
                now=$((SECONDS + 10))
                deadline=$((now < deadline ? now : deadline))
            fi
        done
        [[ ${#alive[@]} -gt 0 ]] || break
        for n in "${alive[@]}"; do # A caller that no longer reads has gone: end, as SIGPIPE would.
            kill -0 "${readers[n * 2]}" "${readers[n * 2 + 1]}" 2>/dev/null || unread[n]=${unread[n]-}.
            [[ ${unread[n]-} != ... ]] || { stopped=141; deadline=$SECONDS; }
        done
        ((SECONDS >= deadline)) || continue
        if [[ -z $stopped ]]; then stopped=124; say "time-out after $timeout s"; fi
        for n in "${alive[@]}"; do stop_machine "$n"; done
    done
    wait "${readers[@]}" || true
    if [[ -n $until ]]; then
        final=${status[until]}
    else
        for n in "${status[@]}"; do
            [[ $n == 0 || $n == killed || $n == stopped ]] || { final=$n; break; }
        done
    fi
    [[ $final == killed || $final == stopped ]] && final=0
    return "$final"
}

start_machine() {
    local n=$1 peer=$((3 - $1)) s out err boot args rail
    # The kernel measures the processor's own clock at boot, and on a busy machine may find a
    # tenth of its speed: all time-outs then end ten times too early. QEMU's HPET keeps real time.
    boot='console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off tsc=unstable clocksource=hpet no_timer_check'
    mkfifo "$dir"/{out,err}"$n" "$dir/mon$n".{in,out}
    reader "$dir/out$n" "$n" & readers[n * 2]=$!
    reader "$dir/err$n" "$n" >&2 & readers[n * 2 + 1]=$!
    cat "$dir/mon$n.out" >"$dir/mon$n.log" & drains+=("$!")
    # Opened here and handed over, so that the readers see the end however QEMU ends.
    exec {out}>"$dir/out$n" {err}>"$dir/err$n"
    # TCG offers the x86-64-v3 instructions. Fast string copies (erms, fsrm) and five-level page
    # tables (la57) are slow in it.
    # shellcheck disable=SC2054  # QEMU's commas
    args=(-accel tcg,thread=multi -cpu max,-erms,-fsrm,-la57 -smp "$cpus" -m "$mem" -M q35
        -nodefaults -no-user-config -display none -no-reboot
        -kernel "$kernel/vmlinux" -initrd "$initramfs"
        -append "$boot rdma_vm.host=$n rdma_vm.hosts=$hosts rdma_vm.rails=$rails rdma_vm.mtu=$mtu"
        -chardev "file,id=con,path=console$n" -serial chardev:con
        -chardev "pipe,id=mon,path=mon$n" -mon chardev=mon,mode=readline
        -add-fd "fd=$out,set=1" -chardev file,id=out,path=/dev/fdset/1,append=on
        -add-fd "fd=$err,set=2" -chardev file,id=err,path=/dev/fdset/2,append=on
        -device virtio-serial-pci,id=ser
        -device virtserialport,bus=ser.0,nr=1,chardev=out
        -device virtserialport,bus=ser.0,nr=2,chardev=err)
    # shellcheck disable=SC2054
    [[ -z $tty ]] || args+=(-chardev stdio,id=tty,signal=off
        -device virtconsole,bus=ser.0,nr=0,chardev=tty)
    add_folder root / on
    add_folder run . off
    for s in "${!share[@]}"; do add_folder "share$s" "${share[s]}" off; done
    # A cable for each rail: each QEMU sends Ethernet frames to the other's Unix socket.
    for ((rail = 0; hosts == 2 && rail < rails; rail++)); do
        args+=(-netdev "dgram,id=net$rail,local.type=unix,local.path=net$rail.$n,remote.type=unix,remote.path=net$rail.$peer"
            -device "virtio-net-pci,id=eth$rail,netdev=net$rail,mac=52:54:00:77:0$rail:0$n,host_mtu=9000,romfile=")
    done
    (cd "$dir" && exec setpriv --pdeathsig KILL qemu-system-x86_64 "${args[@]}") \
        <&"$stdin" >&"$stdout" 2>"$dir/qemu$n.log" &
    pid[n]=$!
    exec {out}>&- {err}>&-
}

# Adds to start_machine's args: FOLDER under the 9p name TAG, READONLY or not.
add_folder() {
    args+=(-fsdev "local,id=$1,path=${2//,/,,},security_model=none,multidevs=remap,readonly=$3"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}

# Copies one stream of a host: plain when it is alone, with a prefix when it is one of two.
reader() {
    if [[ $hosts == 1 ]]; then cat "$1"; else sed -u "s/^/[h$2] /" "$1"; fi
}

# Carries out what `ctl` wrote since the last look.
do_requests() {
    local lines line id verb n arg rail answer
    mapfile -s "$ctl_seen" -t lines <"$dir/ctl"
    for line in "${lines[@]}"; do
        ctl_seen=$((ctl_seen + 1))
        read -r id verb n arg rail <<<"$line" || true
        answer=ok
        [[ $n == [12] && $n -le $hosts ]] || verb=none
        [[ -z $rail || $verb == link && $rail == [12] && $rail -le $rails ]] || verb=none
        case $verb:$arg in
            link:on | link:off) monitor "$n" "set_link eth$((${rail:-1} - 1)) $arg" ;;
            pause:) monitor "$n" stop ;;
            resume:) monitor "$n" cont ;;
            kill:) killed[n]=1; stop_machine "$n" ;;
            *) answer='no such request' ;;
        esac
        say "ctl: ${line#* }: $answer"
        echo "$id $answer" >>"$dir/ctl.done"
    done
}

# A line for the monitor of QEMU; opened so that it does not block when that has ended.
monitor() { echo "$2" 1<>"$dir/mon$1.in"; }

# Ends a host at once. The second call no longer relies on QEMU to do it.
stop_machine() {
    kill "-${signal[$1]-TERM}" "${pid[$1]}" 2>/dev/null || true
    signal[$1]=KILL
}

# Sets status[N] of a host that has ended, and shows what its kernel complained about.
take_status() {
    local n=$1
    if [[ -s $dir/rc$n ]]; then status[n]=$(cat "$dir/rc$n")
    elif [[ -n ${killed[n]-} ]]; then status[n]=killed
    elif [[ -n $stopped ]]; then status[n]=$stopped
    else
        status[n]=125
        say "host $n died; the end of its console:"
        tail -n 20 "$dir/console$n" "$dir/qemu$n.log" >&2 || true
    fi
    grep -aE 'WARNING: |BUG: |Kernel panic|Out of memory' "$dir/console$n" >&2 || true
}

end_everything() {
    local n
    for n in "${!pid[@]}"; do kill -KILL "${pid[n]}" 2>/dev/null || true; done
    [[ ${#drains[@]} == 0 ]] || kill "${drains[@]}" 2>/dev/null || true
    [[ -z $tty ]] || stty "$tty"
    [[ -n $keep ]] || rm -rf "$dir"
}
