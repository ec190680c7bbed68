"""Virtual environments in the cache folder with packages of PyPI that only a bench or a comparison needs."""
import os
import subprocess
import sys


def python_of(name, requirements, cache):
    """The interpreter of the environment cache/venv/NAME, which has these requirements ("package==version"); made unless it is there."""
    folder = os.path.join(cache, "venv", name)
    python, listed = os.path.join(folder, "bin", "python"), os.path.join(folder, "requirements")
    wanted = "\n".join(requirements) + "\n"
    if os.path.exists(listed):
        with open(listed, encoding="utf-8") as file:
            if file.read() == wanted:
                return python
    # without pip: Debian has the module that would put it there in a package of its own
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--only-binary=:all:", *requirements], check=True,
                   stdout=sys.stderr)
    with open(listed, "w", encoding="utf-8") as file:
        file.write(wanted)
    return python
