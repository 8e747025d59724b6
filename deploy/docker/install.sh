#!/bin/sh
# The steps that the Dockerfile, the Apptainer recipe and their test share. Run it in the folder that holds
# pyproject.toml and constraints.txt.
#
#   install.sh wheel DIR                 builds mdcsrn, with its bundles and their weights, as DIR/mdcsrn-*.whl
#   install.sh libraries cpu|cuda VENV   a new environment with everything that mdcsrn needs, as constraints.txt pins it
#   install.sh package VENV DIR          puts the wheel in; asks no network
#   install.sh verify VENV               every bundle passes its check, and its network runs; asks no network
#
# EXTRAS (fast,dicom,report) and TORCH_INDEX (where the CPU build of torch lies; empty: where pip looks anyway) come from
# the environment.
set -eu

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

pip_of() { # pip of an environment, which leaves nothing behind
    environment=$1
    shift
    "$environment/bin/python" -m pip --disable-pip-version-check --no-cache-dir "$@"
}

requirements() { # of mdcsrn and its extras, one a line
    "$1/bin/python" - "${EXTRAS-fast,dicom,report}" <<'PYTHON'
import sys, tomllib
with open("pyproject.toml", "rb") as stream:
    project = tomllib.load(stream)["project"]
known = project["optional-dependencies"]
wanted = [extra for extra in sys.argv[1].split(",") if extra]
if unknown := sorted(set(wanted) - set(known)):
    sys.exit(f"error: no extra {', '.join(unknown)}; allowed: {', '.join(known)}")
lines = [line for group in (project["dependencies"], *(known[extra] for extra in wanted)) for line in group]
own = project["name"] + "["
if nested := [line for line in lines if line.startswith(own)]:
    sys.exit(f"error: {nested[0]} names other extras: list them too")
print("\n".join(lines))
PYTHON
}

[ "$#" -ge 2 ] || usage
step=$1
shift
case $step in
wheel)
    builder=$(mktemp -d)
    trap 'rm -rf "$builder"' EXIT
    python3 -m venv "$builder"
    pip_of "$builder" install --quiet -c constraints.txt hatchling
    pip_of "$builder" wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir "$1" .
    ;;
libraries)
    [ "$#" -eq 2 ] || usage
    case $1 in cpu | cuda) ;; *) usage ;; esac
    python3 -m venv "$2"
    wanted=$(requirements "$2")
    if [ "$1" = cpu ]; then # alone and first, so that the index serves nothing else; PyPI's own build brings CUDA
        index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
        pip_of "$2" install --quiet --no-deps -c constraints.txt ${index:+--index-url "$index"} torch
    fi
    printf '%s\n' "$wanted" | pip_of "$2" install --quiet -c constraints.txt -r /dev/stdin
    "$2/bin/python" - "$1" <<'PYTHON'
import sys, torch
built = "cuda" if torch.version.cuda else "cpu"
if built != sys.argv[1]:
    sys.exit(f"error: torch {torch.__version__} is a build for {built}, not for {sys.argv[1]}: see TORCH_INDEX")
PYTHON
    pip_of "$2" check
    pip_of "$2" freeze > "$2/versions.txt"
    ;;
package)
    [ "$#" -eq 2 ] || usage
    pip_of "$1" install --quiet --no-deps --no-index "$2"/mdcsrn-*.whl
    ;;
verify)
    # The bundle that is used when none is named has its weights; one that is a configuration alone is not checked further.
    "$1/bin/python" -c '
import sys
from mdcsrn.errors import MdcsrnError
from mdcsrn.inference.planning.models import find_model
try:
    find_model()
except MdcsrnError as error:
    sys.exit(f"error: {error}")'
    names=$("$1/bin/mdcsrn" bundle list --json | "$1/bin/python" -c '
import json, sys
for bundle in json.load(sys.stdin):
    files = [file for model in bundle["models"] for file in model["files"]]
    if not all(file["listed"] for file in files):
        sys.exit("error: %s has other weights than its hash list names" % bundle["name"])
    if files:
        print(bundle["name"])
    else:
        print("%s has no weights yet" % bundle["name"], file=sys.stderr)')
    for name in $names; do
        "$1/bin/mdcsrn" bundle check "$name"
    done
    ;;
*)
    usage
    ;;
esac
