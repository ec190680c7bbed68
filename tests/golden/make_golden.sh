#!/bin/bash
# make_golden.sh CACHE MODEL: remake every golden file from the programs of setup.sh, each by the script beside it.
# A file that changes by that is either of other cases now, or of another version of its program: git diff shows which.
set -euo pipefail
cache=$1 model=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$cache/golden/root
python=$cache/golden/venv/bin/python
export PYTHONDONTWRITEBYTECODE=1

# run a script of a folder inside the small Debian, and fetch the file that it writes
in_root() {
	local folder=$1 script=$2 file=$3
	rm -rf "$root/tmp/golden_$folder"
	mkdir -p "$root/tmp/golden_$folder"
	cp "$here/$folder"/*.py "$root/tmp/golden_$folder/"
	chroot "$root" env PYTHONPATH=/opt/golden PYTHONDONTWRITEBYTECODE=1 python3 "/tmp/golden_$folder/$script" 2>"$root/tmp/golden_$folder/log" ||
		{ cat "$root/tmp/golden_$folder/log" >&2; return 1; }
	cp "$root/tmp/golden_$folder/$file" "$here/$folder/"
	rm -rf "$root/tmp/golden_$folder"
}

say() { echo "== $*"; }

say "tensor types: PyPI's gguf, llama-quantize"
"$python" "$here/types/make_golden.py" --peer "$root"
say "tokenizer: PyPI's tokenizers"
"$python" "$here/tokenizer/make_golden.py" --cache "$cache/npm"
"$python" "$here/tokenizer/make_hashes.py" --cache "$cache/npm"
say "chat templates: PyPI's jinja2"
"$python" "$here/template/make_golden.py"
say "sampling: transformers"
in_root sampling make_golden.py sampling.json
say "logits: transformers"
in_root logits make_transformers.py transformers.json
say "logits: a program in double"
"$python" "$here/logits/make_double.py"
say "logits: llama.cpp"
"$python" "$here/logits/make_golden.py" --peer "$root"
say "logits of layers that guess: a program in double, llama.cpp"
"$python" "$here/logits/make_guesses.py" --peer "$root"
say "embeddings: llama.cpp"
"$python" "$here/embeddings/make_golden.py" --peer "$root" --cache "$cache"
say "scores of documents: transformers, llama.cpp"
"$python" "$here/rerank/make_golden.py" --peer "$root" --cache "$cache"
say "greedy answers: llama.cpp"
"$python" "$here/greedy/make_golden.py" --peer "$root" --model "$model"
