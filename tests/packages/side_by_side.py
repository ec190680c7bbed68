#!/usr/bin/env python3
"""Two versions of PostgreSQL on one machine with one engine package, on a bare system as root.

  side_by_side.py PACKAGES MODEL      a folder with .deb files of the engine and of both versions, and a model file
Both servers serve at once, each by an engine of its own from the same file and through a reinstallation; pg_upgradecluster takes a cluster from the older to the newer version, by
pg_upgrade, with its rows, limit and job (a dump has no jobs); the older version's package goes without the newer one's server noticing."""
import os
import shutil
import sys

from upgrade_packages import ANSWER, SERVING, check, install, run, wait, wait_for_job
import upgrade_packages

MODELS = "/var/lib/qwen_pg"
CONFIGURATION = f"shared_preload_libraries = 'qwen_pg'\nqwen.model_directory = '{MODELS}'\nqwen.models = 'chat=model.gguf'\n"


class Cluster:
    """One cluster of Debian's; what upgrade_packages.py asks goes to the one that was chosen last."""

    def __init__(self, version, name):
        self.version, self.name = version, name

    def ctl(self, action):
        run("pg_ctlcluster", self.version, self.name, action)

    def configuration(self):
        return f"/etc/postgresql/{self.version}/{self.name}/conf.d/qwen_pg.conf"

    def create(self):
        run("pg_createcluster", self.version, self.name)
        with open(self.configuration(), "w", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        self.ctl("start")

    def port(self):
        return run("pg_conftool", "-s", self.version, self.name, "show", "port").strip()

    def psql(self, script):
        return run("su", "postgres", "-c", f"psql -p {self.port()} -X -v ON_ERROR_STOP=1 -AtqP pager=off", input=script).strip()

    def serves(self, answer=None):
        upgrade_packages.psql = self.psql
        wait(SERVING, "1")
        found = self.psql(ANSWER)
        check("Paris" in found and answer in (None, found), f"PostgreSQL {self.version} {self.name}: {found}")
        return found

    def engine(self):
        return self.psql("SELECT pid FROM qwen_stat_engine")


def fill(server):
    """What a pg_upgradecluster must bring along: rows, a limit, a job that waits for the models it needs."""
    server.psql("""CREATE ROLE app LOGIN; SELECT qwen_set_limit('app', tokens_per_day => 1000000);
        CREATE TABLE mails (id int PRIMARY KEY, body text, summary text);
        INSERT INTO mails SELECT i, 'The shipment number ' || i || ' arrived damaged.' FROM generate_series(1, 200) i""")
    return server.psql("SELECT qwen_submit('mails', 'Say in other words: {body}', 'mails', 'summary', max_tokens => 20)")


def upgraded(older, newer, name, method, answer):
    """A cluster of the older version with a job at work becomes one of the newer version."""
    before, after = Cluster(older, name), Cluster(newer, name)
    before.create()
    before.psql("CREATE EXTENSION qwen_pg")
    before.serves(answer)
    job = fill(before)
    upgrade_packages.psql = before.psql
    wait("SELECT count(*) > 0 FROM mails WHERE summary IS NOT NULL", "t")
    run("pg_upgradecluster", "-m", method, "-v", newer, older, name)
    # it takes postgresql.conf along, and leaves conf.d
    shutil.copy(before.configuration(), after.configuration())
    after.ctl("restart")
    after.serves(answer)
    in_work = after.psql("SELECT count(*) FROM mails WHERE summary IS NOT NULL")
    wait_for_job(job)
    check(after.psql("SELECT count(*) FROM mails WHERE summary IS NULL OR summary = ''") == "0", f"{method}: rows of the job are lost")
    check(after.psql("SELECT count(*) FROM qwen_dead_letters") == "0", f"{method}: there are dead letters")
    check(after.psql("SELECT tokens_per_day FROM qwen_limits WHERE role = 'app'::regrole") == "1000000", f"{method}: the limit is lost")
    run("pg_dropcluster", older, name)
    run("pg_dropcluster", "--stop", newer, name)
    return in_work


def main():
    packages, model = sys.argv[1:]
    older, newer = sorted(os.listdir("/usr/lib/postgresql"), key=int)
    install(packages)
    shutil.copy(model, f"{MODELS}/model.gguf")
    servers = [Cluster(older, "main"), Cluster(newer, "main")]
    for server in servers:
        server.create()
        server.psql("CREATE EXTENSION qwen_pg")
    answer = servers[0].serves()
    for server in servers:
        server.serves(answer)
        program = os.readlink(f"/proc/{server.engine()}/exe")
        check(program == "/usr/lib/qwen-pg/qwen_engine", f"PostgreSQL {server.version} has the engine {program}")
    check(servers[0].engine() != servers[1].engine(), "both servers have the same engine")

    # an engine that is killed is nothing to the other server; nor is it that the file was replaced
    run("apt-get", "install", "-y", "-qq", "--reinstall", *[f"{packages}/{name}" for name in sorted(os.listdir(packages)) if "-doc" not in name and "dbgsym" not in name and name.endswith(".deb")])
    other = servers[1].engine()
    os.kill(int(servers[0].engine()), 9)
    check(servers[1].serves(answer) == answer and servers[1].engine() == other, "an engine that is killed takes the other server's along")
    servers[0].serves(answer)

    done = [upgraded(older, newer, name, method, answer) for name, method in (("first", "upgrade"),)]

    said = run("apt-get", "purge", "-y", "-qq", f"postgresql-{older}-qwen-pg")
    check(f"cluster {older} main does not start again" in said and f"cluster {newer}" not in said, f"the purge says:\n{said}")
    check(os.path.exists(f"{MODELS}/model.gguf"), f"the package of PostgreSQL {older} takes the models along")
    servers[1].ctl("restart")
    servers[1].serves(answer)
    print(f"PostgreSQL {older} and {newer} side by side with one engine package; pg_upgradecluster by pg_upgrade with {done[0]} of 200 rows of a job done")


if __name__ == "__main__":
    main()
