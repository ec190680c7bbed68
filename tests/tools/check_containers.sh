#!/bin/bash
# check_containers.sh CACHE PACKAGES MODEL: docs/containers built and run, with the packages that `make deb` made for trixie and forky.
#
# podman builds and runs what the Dockerfiles say; the base images, which no registry is asked for, are debootstrap's folders. Tried: the health check, models and data
# in volumes, qwen-pg-pull, passwords, a stop and a start; io_uring refused by ENOSYS and by EPERM and allowed; pages that cannot be made huge; a read-only root without
# any capability; an unknown user; and qwen_pg as an image volume beside a PostgreSQL 18 that has no file of it. Images and containers lie in a folder that is thrown
# away. Needs root (or sudo); 500 MB a suite, kept, and 3 GB while it runs.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
. "$source_dir/tests/tools/debian_folder.sh"
in_own_namespace "$0" "$@"
cache=$1 packages=$2 model=$3
"$source_dir/tests/tools/install_packages.sh" podman runc
work=$(mktemp -d "$cache/containers.XXXXXX")
# runc looks processes up by the numbers that they have here
mount -t proc proc /proc
# what nobody here may raise is not raised
pods() { podman --root "$work/store" --runroot "$work/run" --cgroup-manager cgroupfs --runtime runc --log-level fatal "$@"; }
run() { pods run --ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit "nproc=$(ulimit -Hu):$(ulimit -Hu)" "$@"; }
cleanup() {
	pods rm --all --force --time 0 >/dev/null 2>&1 || true
	pods rmi --all --force >/dev/null 2>&1 || true
	umount -l "$work/store/overlay" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT

fail() {
	echo "FAILED: $*"
	pods logs "$name" 2>&1 | tail -30
	exit 1
}

# base SUITE: the image debian:SUITE-slim, as localhost has it.
base() {
	local root=$cache/bare/$1
	if [ ! -e "$root/base-ready" ]; then
		make_folder "$root" "$1"
		umount "$root/dev/shm" "$root/dev" "$root/proc"
	fi
	tar -C "$root" --exclude=./proc/* --exclude=./dev/* --exclude=./usr/sbin/policy-rc.d --exclude=./etc/postgresql-common -cf - . | pods import --quiet - "localhost/debian:$1-slim" >/dev/null
}

# build NAME DOCKERFILE [ARGUMENT …]
build() {
	local tag=$1 file=$2
	shift 2
	pods build --isolation chroot --network host --format docker "$@" -t "$tag" -f "$file" "$work/context" >"$work/build.log" 2>&1 ||
		{
			tail -40 "$work/build.log"
			echo "FAILED: $file does not build"
			exit 1
		}
}

sql() { pods exec "$name" psql -X -U postgres -v ON_ERROR_STOP=1 -Atqc "$1"; }

# wait_for SECONDS WHAT COMMAND …
wait_for() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "$name: $what did not come"
		sleep 0.2
	done
}

serving() { [ "$(sql "SELECT bool_and(state = 'serving') FROM qwen_models")" = t ]; }
healthy() { pods healthcheck run "$name"; }

# start NAME ARGUMENT … -- COMMAND: a container that is healthy, and answers
start() {
	name=$1
	shift
	run --detach --name "$name" --network none --health-interval disable "$@" >/dev/null || { echo "FAILED: $name does not start"; exit 1; }
	wait_for 60 "a healthy server" healthy
	wait_for 60 "a model" serving
	answer=$(sql "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)")
	case "$answer" in *Paris*) ;; *) fail "$name: the answer is: $answer" ;; esac
}

# in_data VOLUME COMMAND: in its data directory
in_data() { run --rm --network none --health-interval disable -v "$1:/var/lib/postgresql" qwen_pg sh -ec "mkdir -p /var/lib/postgresql/data; cd /var/lib/postgresql/data; $2"; }

# refused WORDS ARGUMENT …: a container that ends with an error, whose log says why
refused() {
	local words=$1
	name=refused
	shift
	! run --rm --name refused --network none --health-interval disable "$@" >"$work/refused.log" 2>&1 && grep -q -- "$words" "$work/refused.log" || { cat "$work/refused.log"; echo "FAILED: no container that says: $words"; exit 1; }
}

# program NAME LINE: a line in front of the program of that name in a container
program() {
	local path=$work/program_$1
	printf '#!/bin/sh\n%s\nexec /usr/bin/%s "$@"\n' "$2" "$1" >"$path"
	chmod 755 "$path"
	echo "$path:/usr/local/bin/$1:ro"
}

# as SECONDS it may take, STOPSIGNAL ends it in order
stop() {
	pods stop --time 20 "$name" >/dev/null
	[ "$(pods inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || fail "$name: a stop ended with code $(pods inspect --format '{{.State.ExitCode}}' "$name")"
}

how_read() { sql "SELECT load_method FROM qwen_models"; }

# profile NAME PYTHON: podman's seccomp profile, changed
profile() {
	python3 - "$work/$1.json" "$2" <<-'END'
		import json, sys
		with open("/usr/share/containers/seccomp.json") as file:
		    profile = json.load(file)
		calls = profile["syscalls"]
		def forget(name):
		    for rule in calls:
		        rule["names"] = [other for other in rule["names"] if other != name]
		exec(sys.argv[2])
		profile["syscalls"] = [rule for rule in calls if rule["names"]]
		with open(sys.argv[1], "w") as file:
		    json.dump(profile, file)
	END
	echo "$work/$1.json"
}

# with SUITE: its packages in the context, as in the repository, and its base
with() {
	need_packages "$packages" "$1"
	cp -r "$packages/$1" "$work/context/build/deb/"
	base "$1"
}
mkdir -p "$work/context/docs" "$work/context/build/deb"
cp -r "$source_dir/docs/containers" "$work/context/docs/"

# ---- the server's image ----
with trixie
build qwen_pg "$source_dir/docs/containers/Dockerfile"
python3 "$source_dir/tests/tools/start_blocks.py" --hub "$model" >"$work/hub" &
hub=$!
until [ -s "$work/hub" ]; do sleep 0.1; done
name=pull
run --rm --name pull --network host --health-interval disable -e "QWEN_PG_HUB=$(cat "$work/hub")" -v models:/var/lib/qwen_pg qwen_pg qwen-pg-pull qwen3-0.6b >"$work/pull.log" 2>&1 || { cat "$work/pull.log"; echo "FAILED: qwen-pg-pull in the image"; exit 1; }
kill "$hub"

start plain -v models:/var/lib/qwen_pg:ro -v data:/var/lib/postgresql -e POSTGRES_PASSWORD=a-secret qwen_pg
[ "$(how_read | grep -c pread)" = 1 ] || fail "plain: read by $(how_read), though the profile has no io_uring"
[ "$(pods exec -e PGPASSWORD=a-secret plain psql -X -h 127.0.0.1 -U postgres -Atc 'SELECT 1')" = 1 ] || fail "plain: no login by password"
! pods exec -e PGPASSWORD=another plain psql -X -h 127.0.0.1 -U postgres -Atc 'SELECT 1' >/dev/null 2>&1 || fail "plain: a login by a wrong password"
[ "$(sql "SELECT name FROM qwen_models")" = qwen3_0_6b_q8_0 ] || fail "plain: the model's name is $(sql 'SELECT name FROM qwen_models')"
sql "CREATE TABLE kept AS SELECT 1 AS one"
engine=$(sql "SELECT pid FROM qwen_stat_engine")
pods exec plain sh -c "grep -E '^(Seccomp|NoNewPrivs):' /proc/$engine/status" | tr -d '\t\n' | grep -q 'NoNewPrivs:1Seccomp:2' || fail "plain: the engine's sandbox is not whole"
sql "SELECT qwen_unload_model('qwen3_0_6b_q8_0')" >/dev/null
! healthy >/dev/null || fail "plain: healthy without its model"
stop
pods start plain >/dev/null
wait_for 60 "a healthy server after a stop" healthy
[ "$(sql "SELECT one FROM kept")" = 1 ] || fail "plain: what was stored is gone"
pods exec plain kill -9 "$(sql "SELECT pid FROM qwen_stat_engine")"
wait_for 20 "a healthy server after its engine was killed" healthy
stop
echo "containers: built; healthy, answers, password, model and data in volumes, a stop and a start"

# killed while it makes its cluster, at ever later moments: the next start makes it anew, or finds it whole
for tenths in 1 5 10 20 30; do
	run --detach --name killed --network none --health-interval disable -v "killed$tenths:/var/lib/postgresql" qwen_pg >/dev/null
	sleep "$(echo "$tenths" | sed 's/.$/.&/')"
	pods kill killed >/dev/null
	pods rm killed >/dev/null
	start "after$tenths" -v models:/var/lib/qwen_pg:ro -v "killed$tenths:/var/lib/postgresql" qwen_pg
	stop
done
echo "containers: killed while the cluster was made, five times"

# stopped when all but PG_VERSION is at its place: goes on with what there is
! run --rm --network none --health-interval disable -v moved:/var/lib/postgresql -v "$(program mv 'case "$*" in *PG_VERSION*) exit 1 ;; esac')" qwen_pg 2>/dev/null || { echo "FAILED: a move that failed is no error"; exit 1; }
in_data moved '[ -d base ] && [ -e making/complete ] && [ ! -e PG_VERSION ] && touch global/kept' || { echo "FAILED: a cluster that is half moved looks otherwise"; exit 1; }
start moved -v models:/var/lib/qwen_pg:ro -v moved:/var/lib/postgresql qwen_pg
pods exec moved sh -c 'test -e /var/lib/postgresql/data/global/kept && test ! -e /var/lib/postgresql/data/making' || fail "moved: made anew, or not cleared"
stop

# what is not ours stays
refused "is not empty" -v models:/var/lib/postgresql -e PGDATA=/var/lib/postgresql qwen_pg
in_data folder 'mkdir making; touch making/mine mine'
refused "is not empty" -v folder:/var/lib/postgresql qwen_pg
in_data folder 'test -e making/mine && test -e mine' || { echo "FAILED: a folder with another's making is emptied"; exit 1; }
in_data cut 'mkdir making base; touch PG_VERSION base/mine making/made_by_qwen_pg'
refused "PG_VERSION is empty" -v cut:/var/lib/postgresql qwen_pg
in_data cut 'test -e base/mine' || { echo "FAILED: a cluster whose PG_VERSION is empty is deleted"; exit 1; }
echo "containers: half moved, and gone on with; folders of others are left as they are"

# two of one volume: half a second apart, one of them late with what it does to the folder; and beside a server that runs
run --detach --name first --network none --health-interval disable -v models:/var/lib/qwen_pg:ro -v shared:/var/lib/postgresql qwen_pg >/dev/null
sleep 0.5
run --detach --name late --network none --health-interval disable -v shared:/var/lib/postgresql -v "$(program find 'sleep 8')" qwen_pg >/dev/null
refused "another container" -v shared:/var/lib/postgresql qwen_pg
name=late
[ "$(pods wait late)" = 1 ] && pods logs late 2>&1 | grep -q "another container" || fail "late: a second server of one volume"
name=first
wait_for 60 "a healthy server" healthy
wait_for 60 "a model" serving
sql "CREATE TABLE kept AS SELECT 1 AS one"
refused "another container" -v shared:/var/lib/postgresql qwen_pg
name=first
[ "$(sql "SELECT one FROM kept")" = 1 ] || fail "first: what was stored is gone"
stop
pods start first >/dev/null
wait_for 60 "a healthy server after a stop" healthy
wait_for 60 "a model" serving
[ "$(sql "SELECT one FROM kept")" = 1 ] || fail "first: what was stored is gone after a stop"
stop
echo "containers: two of one volume: the second is refused"

# a library that cannot be loaded ends the making with FATAL
: >"$work/empty"
refused "could not load library" -v fatal:/var/lib/postgresql -v "$work/empty:$(run --rm --network none qwen_pg sh -c 'echo /usr/lib/postgresql/*/lib/qwen_pg.so'):ro" -e POSTGRES_PASSWORD=a-secret qwen_pg
in_data fatal '[ -z "$(ls -A)" ]' || { echo "FAILED: a try that failed leaves something"; exit 1; }

# files that no list can hold take no model away, and there are places for more than four
run --rm --network none --health-interval disable -v models:/models:ro -v odd:/var/lib/qwen_pg qwen_pg sh -ec 'cd /var/lib/qwen_pg
	cp /models/*.gguf model.gguf
	for i in 1 2 3 4; do ln model.gguf "more $i.gguf"; done
	ln model.gguf Model.gguf; ln model.gguf "$(printf "b\\377\\376.gguf")"; ln model.gguf a,b.gguf; ln model.gguf "{.gguf"; ln model.gguf "$(printf %064d 0).gguf"'
start odd -v odd:/var/lib/qwen_pg:ro qwen_pg postgres -c qwen.default_model=more_4
[ "$(sql "SELECT count(*), string_agg(name, ' ' ORDER BY name) FROM qwen_models")" = "5|model more_1 more_2 more_3 more_4" ] || fail "odd: other models"
[ "$(pods logs odd 2>&1 | grep -ac "is not served")" = 5 ] || fail "odd: the log does not say what is passed over"
stop
start listed -v models:/var/lib/qwen_pg:ro -v data:/var/lib/postgresql -e "QWEN_MODELS=$(printf 'm%d=Qwen3-0.6B-Q8_0.gguf {context=512, threads=1}, ' 1 2 3 4 5)" qwen_pg
[ "$(sql "SELECT count(*) FROM qwen_models")" = 5 ] || fail "listed: there are places for $(sql 'SHOW qwen.max_models')"
stop
echo "containers: a FATAL while the cluster is made; names that no list can hold"

start refused -v models:/var/lib/qwen_pg:ro --security-opt "seccomp=$(profile refused 'calls.append({"names": ["io_uring_setup", "io_uring_enter", "io_uring_register"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1})')" qwen_pg
[ "$(how_read | grep -c pread)" = 1 ] || fail "refused: read by $(how_read)"
stop
start allowed -v models:/var/lib/qwen_pg:ro --security-opt "seccomp=$(profile allowed 'calls.append({"names": ["io_uring_setup", "io_uring_enter", "io_uring_register"], "action": "SCMP_ACT_ALLOW"})')" qwen_pg
[ "$(how_read | grep -c io_uring)" = 1 ] || fail "allowed: read by $(how_read)"
stop
echo "containers: io_uring refused by ENOSYS and EPERM, and allowed"

# MADV_COLLAPSE is 25
start pages -v models:/var/lib/qwen_pg:ro --security-opt "seccomp=$(profile pages 'forget("madvise"); calls.append({"names": ["madvise"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 25, "op": "SCMP_CMP_NE"}]})')" qwen_pg postgres -c qwen.huge_pages=on
sql "SELECT qwen_health()->>'status'" | grep -q degraded || fail "pages: qwen_health() is silent about huge pages that do not come"
stop
echo "containers: no huge pages: serves, and qwen_health() says so"

start sealed -v models:/var/lib/qwen_pg:ro -v sealed:/var/lib/postgresql --read-only --read-only-tmpfs=false --tmpfs /tmp --tmpfs /var/run/postgresql:mode=3777 --cap-drop ALL --security-opt no-new-privileges qwen_pg
! pods exec sealed touch /var/lib/qwen_pg/x 2>/dev/null || fail "sealed: the volume of models can be written"
stop
start unknown -v models:/var/lib/qwen_pg:ro --user 54321:54321 --passwd=false --read-only --read-only-tmpfs=false --tmpfs /tmp --tmpfs /var/run/postgresql:mode=3777 --cap-drop ALL qwen_pg
[ "$(pods exec unknown stat -c %u /var/lib/postgresql/data)" = 54321 ] || fail "unknown: the data is another's"
! pods exec unknown id -un >/dev/null 2>&1 || fail "unknown: the user has a name"
stop
echo "containers: a read-only root without capabilities, a user without a name"

# ---- the image volume, beside a server that has no file of ours, as CloudNativePG sets it up ----
with forky
build qwen_pg-volume "$source_dir/docs/containers/Dockerfile.volume"
cat >"$work/Dockerfile.server" <<-'END'
	FROM debian:forky-slim
	RUN apt-get update && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf && apt-get install -y --no-install-recommends postgresql-18 \
		&& install -d -m 1777 /var/lib/postgresql && chmod 3777 /var/run/postgresql && useradd -u 26 -g nogroup -d /var/lib/postgresql cnpg
	USER 26
	HEALTHCHECK CMD ["pg_isready", "-q"]
END
build server "$work/Dockerfile.server"
[ -z "$(run --rm --network none server find / -xdev -name '*qwen*')" ] || { echo "FAILED: the server has files of ours"; exit 1; }
name=volume
run --detach --name volume --network none --health-interval disable --read-only --read-only-tmpfs=false --tmpfs /tmp --tmpfs /var/run/postgresql:mode=3777 -v volume:/var/lib/postgresql -v models:/models:ro \
	--mount type=image,source=localhost/qwen_pg-volume,destination=/extensions/qwen_pg server sh -ec '
	PATH=/usr/lib/postgresql/18/bin:$PATH
	[ -s /var/lib/postgresql/data/PG_VERSION ] || initdb -D /var/lib/postgresql/data -U postgres --auth=trust --locale=C.UTF-8 >/dev/null
	exec postgres -D /var/lib/postgresql/data -c shared_preload_libraries=qwen_pg -c extension_control_path=\$system:/extensions/qwen_pg/share -c dynamic_library_path=\$libdir:/extensions/qwen_pg/lib \
		-c qwen.model_directory=/models -c qwen.models=chat=Qwen3-0.6B-Q8_0.gguf' >/dev/null
wait_for 60 "a server" healthy
sql "CREATE EXTENSION qwen_pg VERSION '0.1.0'"
sql "ALTER EXTENSION qwen_pg UPDATE"
wait_for 60 "a model" serving
sql "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)" | grep -q Paris || fail "volume: no answer"
[ "$(pods exec volume sh -c "readlink /proc/$(sql "SELECT pid FROM qwen_stat_engine")/exe")" = /extensions/qwen_pg/bin/qwen_engine ] || fail "volume: another engine"
[ "$(sql "SELECT count(qwen_embed(g::text)) FROM generate_series(1, 20) g")" = 20 ] || fail "volume: no embeddings"
sql "SELECT file_name || ' ' || version FROM pg_get_loaded_modules() WHERE module_name = 'qwen_pg'" | grep -q "qwen_pg.so [0-9]" || fail "volume: the server does not know what it has loaded"
stop
echo "containers: image volume beside a bare PostgreSQL 18: installed as 0.1.0, updated, answers"
