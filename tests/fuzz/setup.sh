#!/bin/bash
# Install what make fuzz needs beyond tests/tools/packages: Debian's clang, and its sanitizers and libFuzzer.
set -euo pipefail
install=$(dirname "$0")/../tools/install_packages.sh
"$install" clang
"$install" "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
