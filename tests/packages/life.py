#!/usr/bin/env python3
"""What happens to packages besides upgrades, on a bare system with a server that runs, as root in the locale C and with an umask of 077.

  life.py BEFORE NOW MODEL      folders with .deb files, and a model file
Files and rights; links of the manual; qwen-pg-pull; a reinstallation, a removal and a way back to the version before below a server that runs, each with its engine killed, and each with a
restart; a model directory that an administrator made otherwise; purges of one that is mounted, linked and plain, and of a cluster whose data lies elsewhere."""
import glob
import os
import re
import shutil
import stat
import subprocess
import sys

from start_blocks import serve
from upgrade_packages import ANSWER, SERVING, check, cluster, psql, run, wait

MODELS = "/var/lib/qwen_pg"
FILE = "Qwen3-0.6B-Q8_0.gguf"
DATA = "/srv/data of the cluster"
PACKAGES = ("qwen-pg-engine", "postgresql-{}-qwen-pg")


def apt(*arguments):
    return run("apt-get", "-y", "-qq", *arguments)


def debs(folder):
    return sorted(glob.glob(f"{folder}/qwen-pg-engine_*.deb") + glob.glob(f"{folder}/postgresql-*-qwen-pg_*.deb"))


def names(version):
    return [package.format(version) for package in PACKAGES]


def rights(path):
    status = os.lstat(path)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def postgres():
    found = run("stat", "-c", "%u %g", "/var/lib/postgresql").split()
    return int(found[0]), int(found[1])


def files_and_rights(version):
    """Root's files, readable by all, nothing with a set bit, no conffiles, nothing that differs from the package; the model directory is the server's."""
    check(rights(MODELS) == (0o755, *postgres()), f"{MODELS} is {rights(MODELS)}")
    for package in names(version):
        check(run("dpkg-query", "-W", "-f", "${Conffiles}", package) == "", f"{package} has conffiles")
        check(run("dpkg", "--verify", package) == "", f"dpkg --verify {package}")
        for path in run("dpkg", "-L", package).splitlines():
            if "qwen" not in path or os.path.islink(path):
                continue
            mode, uid, gid = rights(path)
            program = os.path.isdir(path) or path.endswith(("/qwen_engine", "/qwen-pg-pull"))
            check((mode, uid, gid) == (0o755 if program else 0o644, 0, 0), f"{path} is {mode:o} of {uid}:{gid}")


def dependencies(version):
    """A library needs a server that is not older than the headers it was built with: one that cannot load it does not start."""
    found = re.search(rf"postgresql-{version} \(>= ({version}[.~][^)]*)\)", run("dpkg-query", "-W", "-f", "${Depends}", f"postgresql-{version}-qwen-pg"))
    check(found, f"the package of PostgreSQL {version} asks for no minor version")


def documentation(now):
    """The manual's pages find each other, and what containers are made of is there to be used; what the sources alone have (tests/) is not meant."""
    apt("install", *glob.glob(f"{now}/qwen-pg-doc_*.deb"))
    folder = "/usr/share/doc/qwen-pg-doc"
    for name in ("Dockerfile", "Dockerfile.volume", "entrypoint", "README.md"):
        check(os.path.getsize(f"{folder}/docs/containers/{name}") > 0, f"no {name}")
    for page in glob.glob(f"{folder}/**/*.md", recursive=True):
        with open(page, encoding="utf-8") as file:
            links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read())
        for link in links:
            path = os.path.normpath(os.path.join(os.path.dirname(page), link))
            known = os.path.exists(path) or path.startswith(f"{folder}/tests/") or path == f"{folder}/CHANGELOG.md"
            check(known, f"{page} names {link}, which is not there")


def pull(model):
    """As an administrator calls it: by root, whose umask is narrow, without a locale."""
    done = subprocess.run(["qwen-pg-pull", "qwen3-0.6b"], env={"PATH": os.environ["PATH"], "QWEN_PG_HUB": serve(model)}, text=True, capture_output=True, check=False)
    check(done.returncode == 0, f"qwen-pg-pull: {done.stdout}{done.stderr}")
    mode, uid, gid = rights(f"{MODELS}/{FILE}")
    check((uid, gid) == postgres() and mode & 0o440 == 0o440, f"the model is {mode:o} of {uid}:{gid}")
    check(os.listdir(MODELS) == [FILE], f"{MODELS} has {os.listdir(MODELS)}")


def kill_engine():
    """The engine of the server that runs, whatever is installed by now: another one comes, and is of the same version."""
    pid = psql("SELECT pid FROM qwen_stat_engine")
    os.kill(int(pid), 9)
    wait(f"SELECT pid <> {pid} FROM qwen_stat_engine WHERE pid IS NOT NULL", "t")
    wait(SERVING, "1")


def goes_on(answer, after):
    check(psql(ANSWER) == answer, f"another answer after {after}")
    kill_engine()
    check(psql(ANSWER) == answer, f"another answer of a new engine after {after}")


def reinstalled(now, ctl, answer):
    said = apt("install", "--reinstall", *debs(now))
    check("ALTER EXTENSION" not in said and "keep" not in said, f"a reinstallation speaks of an upgrade:\n{said}")
    goes_on(answer, "a reinstallation")
    ctl("restart")
    wait(SERVING, "1")
    goes_on(answer, "a restart after it")


def back_and_forth(before, now, ctl, answer):
    """A database that has the old script still: its server may go back, and forth again."""
    psql("DROP EXTENSION qwen_pg CASCADE; CREATE EXTENSION qwen_pg VERSION '0.1.0'")
    said = apt("install", "--allow-downgrades", *debs(before))
    goes_on(answer, "the packages of before were installed")
    ctl("restart")
    wait(SERVING, "1")
    goes_on(answer, "a restart by the code of before")
    said_before = said
    said = apt("install", *debs(now))
    check("ALTER EXTENSION qwen_pg UPDATE" in said, f"apt does not say what to do:\n{said}")
    check(psql(ANSWER) == answer, "another answer after the upgrade")
    ctl("restart")
    wait(SERVING, "1")
    psql("ALTER EXTENSION qwen_pg UPDATE")
    goes_on(answer, "a way back and forth")
    return said_before


def directory_of_administrator(now):
    """Owner, mode and kind of the model directory stay as an administrator made them, a link to a disk that is not there included."""
    os.chmod(MODELS, 0o750)
    os.chown(MODELS, 0, postgres()[1])
    apt("install", "--reinstall", *debs(now))
    check(rights(MODELS) == (0o750, 0, postgres()[1]), f"a reinstallation changes {MODELS} to {rights(MODELS)}")
    os.rename(MODELS, "/srv/models")
    for target in ("/srv/models", "/srv/not-mounted"):
        os.symlink(target, MODELS)
        apt("install", "--reinstall", *debs(now))
        check(os.readlink(MODELS) == target, f"a reinstallation changes the link {MODELS}")
        os.unlink(MODELS)
    check(not os.path.exists("/srv/not-mounted"), "a reinstallation makes what a link points at")
    os.symlink("/srv/models", MODELS)


def removed(version, ctl, answer, now):
    """Not purged: models stay, the server that runs goes on without the functions; who removes is told which server will not start, and that it does so."""
    said = apt("remove", *names(version))
    check(f"cluster {version} main does not start again" in said and "/conf.d/qwen_pg.conf" in said, f"the removal does not say what will not start:\n{said}")
    check(not os.path.exists("/usr/lib/qwen-pg"), "the removal leaves /usr/lib/qwen-pg")
    check(os.path.exists(f"{MODELS}/{FILE}"), "the removal takes the models")
    check(psql("SELECT count(*) FROM pg_extension WHERE extname = 'qwen_pg'") == "1", "the removal takes the server along")
    apt("install", *debs(now))
    goes_on(answer, "packages were removed and came again")
    apt("remove", *names(version))
    ctl("stop")
    done = subprocess.run(["pg_ctlcluster", version, "main", "start"], text=True, capture_output=True, check=False)
    check(done.returncode != 0, "a server without the library starts")
    apt("install", *debs(now))
    ctl("start")
    wait(SERVING, "1")
    goes_on(answer, "packages came again")


def purge(version):
    apt("purge", *names(version))
    for package in names(version):
        left = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], text=True, capture_output=True, check=False).stdout
        check(left in ("", "unknown ok not-installed"), f"{package} is {left} after a purge")


def purged(version, ctl, now):
    """With a linked, a mounted and a plain model directory."""
    ctl("stop")
    usage = f"{DATA}/pgsql_tmp_qwen_pg_usage"
    check(os.path.exists(usage), "no usage file")
    purge(version)
    check(not os.path.lexists(MODELS) and os.path.exists(f"/srv/models/{FILE}"), "a purge removes what a link points at, or not the link")
    check(not os.path.exists(usage), f"a purge leaves {usage}")
    apt("install", *debs(now))
    check(rights(MODELS) == (0o755, *postgres()), f"{MODELS} is {rights(MODELS)}")
    run("mount", "-t", "tmpfs", "tmpfs", MODELS)
    shutil.copy("/etc/hostname", f"{MODELS}/kept.gguf")
    purge(version)
    check(os.listdir(MODELS) == ["kept.gguf"], "a purge empties a file system of its own")
    run("umount", MODELS)
    apt("install", *debs(now))
    shutil.copy("/etc/hostname", f"{MODELS}/lost.gguf")
    purge(version)
    check(not os.path.exists(MODELS), f"a purge leaves {MODELS}")


def main():
    before, now, model = sys.argv[1:]
    for name in ("LANG", "LC_ALL", "LANGUAGE"):
        os.environ.pop(name, None)
    os.umask(0o077)
    version, ctl = cluster()
    run("pg_dropcluster", version, "main")
    os.makedirs("/srv", exist_ok=True)
    os.chmod("/srv", 0o755)
    run("pg_createcluster", "--locale", "C", "-d", DATA, version, "main")
    apt("install", *debs(now))
    files_and_rights(version)
    dependencies(version)
    documentation(now)
    pull(model)
    configuration = f"/etc/postgresql/{version}/main/conf.d/qwen_pg.conf"
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(f"shared_preload_libraries = 'qwen_pg'\nqwen.model_directory = '{MODELS}'\nqwen.models = 'chat={FILE}'\n")
    os.chmod(configuration, 0o644)
    ctl("start")
    psql("CREATE EXTENSION qwen_pg")
    wait(SERVING, "1")
    encoding = psql("SHOW server_encoding")
    answer = psql(ANSWER)
    check("Paris" in answer, answer)
    reinstalled(now, ctl, answer)
    back_and_forth(before, now, ctl, answer)
    directory_of_administrator(now)
    removed(version, ctl, answer, now)
    purged(version, ctl, now)
    print(f"life of packages with PostgreSQL {version}, locale C ({encoding}), umask 077: installed again, gone back and forth, removed and purged, each beside a server that runs")


if __name__ == "__main__":
    main()
