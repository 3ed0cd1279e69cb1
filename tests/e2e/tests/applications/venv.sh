#!/usr/bin/env bash
# A virtual environment, a package installed into it from a wheel, and imported.
. "${0%/*}/common.sh"
needs python3
python3 -m venv "$mount/venv" || exit 77
python3 - "$local/rip_demo-1.0-py3-none-any.whl" <<'P'
import sys, zipfile
info = "rip_demo-1.0.dist-info/"
files = {f"rip_demo/m{n}.py": f"value = {n}\n" for n in range(50)}
files["rip_demo/__init__.py"] = "from . import " + ", ".join(f"m{n}" for n in range(50)) + "\n"
files[info + "METADATA"] = "Metadata-Version: 2.1\nName: rip-demo\nVersion: 1.0\n"
files[info + "WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
files[info + "RECORD"] = "".join(f"{name},,\n" for name in files) + info + "RECORD,,\n"
with zipfile.ZipFile(sys.argv[1], "w") as z:
    for name, text in files.items():
        z.writestr(name, text)
P
"$mount/venv/bin/python" -m pip install -q --no-index --disable-pip-version-check "$local/rip_demo-1.0-py3-none-any.whl"
got=$("$mount/venv/bin/python" -c 'import rip_demo; print(sum(getattr(rip_demo, f"m{n}").value for n in range(50)))')
[[ $got == 1225 ]] || die "$got"
"$mount/venv/bin/python" -m pip uninstall -q -y rip-demo
"$mount/venv/bin/python" -c 'import rip_demo' 2>/dev/null && die "still there"
true
