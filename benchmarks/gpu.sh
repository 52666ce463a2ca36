#!/usr/bin/env bash
# Runs benchmarks/gpu.py on a machine with a GPU that can fetch nothing: Python 3.12 with torch, the repository,
# and the wheels below in a folder.
#
#     bash benchmarks/gpu.sh [WHEELS] [arguments of gpu.py]     # WHEELS: the folder, .whl when not given
#
# There already, in any recent version:
#     there: torch torchvision numpy scipy pandas pyarrow opencv-python-headless pillow pyyaml safetensors
#     there: onnxruntime typing_extensions scikit-learn timm huggingface_hub tqdm
# Wheels to carry (about 20 MB), fetched where there is a network by
#     grep -o '^# wheel: .*' benchmarks/gpu.sh | cut -c10- | xargs python3 -m pip download --no-deps -d .whl \
#         --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#         --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64
# wheel: albumentations==2.0.8
# wheel: albucore==0.0.24
# wheel: stringzilla==5.3.2
# wheel: simsimd==6.5.16
# wheel: pydantic==2.14.3
# wheel: pydantic-core==2.50.4
# wheel: typing-inspection==0.4.5
# wheel: annotated-types==0.8.0
# wheel: nibabel==5.4.2
# wheel: pydicom==3.0.2
# wheel: segmentation-models-pytorch==0.6.0
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
wheels=.whl
if [ $# -gt 0 ] && [ -d "$1" ]; then
    wheels=$1
    shift
fi
if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
    echo "$wheels holds no wheels; fetch those that the head of benchmarks/gpu.sh names" >&2
    exit 2
fi
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
PYTHONPATH=$site python3 "$here/gpu.py" "$@"
