#!/usr/bin/env bash
# One process of Beam on Flink 1.19, in the foreground: for a container, a systemd unit or kubeflow/flink/local.py. Needs Java 11 or 17.
#
#   flink.sh jars job-server          the jars of Beam's job server, by Maven: once
#   flink.sh jars cluster             Flink's own jars, by pip: once
#   flink.sh job-server               with Flink embedded, on port 8099: no cluster needed
#   flink.sh job-server HOST:8081     for the session cluster whose JobManager is there
#   flink.sh jobmanager ADDRESS       on one host; ADDRESS is how the others reach it
#   flink.sh taskmanager ADDRESS JOBMANAGER   on each working host
#   flink.sh worker-pool              on each working host, beside its TaskManager, with our package and its Python first on the PATH
#
# MEDIMG_FLINK is the folder of the jars (default ~/.cache/medimg/flink); MEDIMG_FLINK_WORK is for logs and staged files (default a temporary one);
# PORT is the job server's (8099) or the worker pool's (50000); JOB_HOST the address that the job server listens on (localhost), there with
# ARTIFACT_PORT (8098) for what a job brings with it.
set -euo pipefail

HERE=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
HOME_OF_JARS=${MEDIMG_FLINK:-${XDG_CACHE_HOME:-$HOME/.cache}/medimg/flink}
WORK=${MEDIMG_FLINK_WORK:-${TMPDIR:-/tmp}/medimg-flink}
FLINK_VERSION=$(sed -n 's/^apache-flink-libraries==\([0-9.]*\).*/\1/p' "$HERE/libraries.txt")
# What Flink's own configuration opens to itself on Java 17.
OPENS=()
for package in lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks; do
  OPENS+=("--add-opens=java.base/java.$package=ALL-UNNAMED")
done
OPENS+=(--add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-exports=java.base/sun.net.util=ALL-UNNAMED
  --add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED --add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED)

stop() { printf 'flink: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || stop "no $1 on the PATH; $2"; }

# Job server and SDK should be of one version.
beam_version() {
  python -c 'from importlib.metadata import version; print(version("apache-beam"))' 2>/dev/null || sed -n 's/.*<beam.version>\(.*\)<.*/\1/p' "$HERE/pom.xml"
}

# Jars of `$1`, fetched by `$2...` into a folder that gets its name when it is complete.
fetch() {
  local folder=$1
  shift
  [ ! -d "$folder" ] || return 0
  mkdir -p "$HOME_OF_JARS"
  fresh=$(mktemp -d "$HOME_OF_JARS/.fetching.XXXXXX")  # Not local: the trap reads it after this function has ended.
  trap 'rm -rf "$fresh"' EXIT
  "$@" "$fresh"
  mv -T "$fresh" "$folder" 2>/dev/null || [ -d "$folder" ]  # Another one may have been faster.
}

fetch_job_server() {
  need mvn "Debian, Ubuntu: apt-get install maven"
  mvn --quiet --batch-mode -Dstyle.color=never --strict-checksums --file "$HERE/pom.xml" dependency:copy-dependencies "-Dbeam.version=$(beam_version)" "-DoutputDirectory=$1" >&2 ||
    stop "Maven could not fetch the jars of the job server (see above)"
}

fetch_cluster() {
  local archive="$1/archive" python
  # A virtual environment made by uv has no pip; any Python's will do.
  while read -r python; do "$python" -m pip --version >/dev/null 2>&1 && break; done < <(type -aP python3)
  "$python" -m pip --quiet --disable-pip-version-check download --no-deps --no-build-isolation --no-binary :all: --require-hashes --requirement "$HERE/libraries.txt" --dest "$archive" >&2 ||
    stop "pip could not fetch apache-flink-libraries (see above)"
  tar --extract --gzip --file "$archive"/*.tar.gz --directory "$1" --strip-components 3 --wildcards '*/deps/lib/*'
  rm -r "$archive"
}

job_server_jars() { printf '%s/job-server-%s' "$HOME_OF_JARS" "$(beam_version)"; }
cluster_jars() { printf '%s/cluster-%s' "$HOME_OF_JARS" "$FLINK_VERSION"; }
class_path() { [ -d "$1" ] && printf '%s/*' "$1" || stop "no jars in $1; fetch them with: $0 jars $2"; }

# A folder of configuration that holds conf/ and the lines given.
write_conf() {
  local name=$1
  shift
  mkdir -p "$WORK/$name"
  { cat "$HERE/conf/flink-conf.yaml"; printf '%s\n' "$@"; } >"$WORK/$name/flink-conf.yaml"
  printf '%s' "$WORK/$name"
}

flink() {
  local class=$1 heap=$2 conf=$3 jars
  jars=$(class_path "$(cluster_jars)" cluster)
  exec java "${OPENS[@]}" "-Xmx$heap" "-Dlog4j.configurationFile=file:$HERE/conf/log4j2.properties" -cp "$jars" "org.apache.flink.runtime.$class" --configDir "$conf"
}

main() {
  local command=${1:-} jars conf master=${2:-[local]} port=${PORT:-8099}
  case "$command" in
    jars)
      case "${2:-}" in
        job-server) fetch "$(job_server_jars)" fetch_job_server ;;
        cluster) fetch "$(cluster_jars)" fetch_cluster ;;
        *) stop "jars ${2:-}: expected jars job-server or jars cluster" ;;
      esac
      ;;
    job-server)
      need java "Debian, Ubuntu: apt-get install openjdk-17-jre-headless"
      jars=$(class_path "$(job_server_jars)" job-server)
      # Embedded there is no other host on which work could be done again.
      if [ "$master" = "[local]" ]; then conf=$(write_conf job-server "restart-strategy.type: none"); else conf=$(write_conf job-server); fi
      exec java "${OPENS[@]}" -Xmx1g -cp "$jars" org.apache.beam.runners.flink.FlinkJobServerDriver "--flink-master=$master" "--flink-conf-dir=$conf" \
        "--job-host=${JOB_HOST:-localhost}" "--job-port=$port" "--artifact-port=${ARTIFACT_PORT:-8098}" "--expansion-port=0" "--artifacts-dir=$WORK/staged"
      ;;
    jobmanager)
      [ $# -eq 2 ] || stop "expected: jobmanager ADDRESS"
      need java "Debian, Ubuntu: apt-get install openjdk-17-jre-headless"
      conf=$(write_conf jobmanager "jobmanager.rpc.address: $2" "jobmanager.bind-host: 0.0.0.0" "rest.address: $2" "rest.bind-address: 0.0.0.0" "io.tmp.dirs: $WORK/jobmanager")
      flink entrypoint.StandaloneSessionClusterEntrypoint 512m "$conf"
      ;;
    taskmanager)
      [ $# -eq 3 ] || stop "expected: taskmanager ADDRESS JOBMANAGER"
      need java "Debian, Ubuntu: apt-get install openjdk-17-jre-headless"
      conf=$(write_conf "taskmanager-$2" "jobmanager.rpc.address: $3" "taskmanager.host: $2" "taskmanager.bind-host: 0.0.0.0" "io.tmp.dirs: $WORK/taskmanager-$2")
      flink taskexecutor.TaskManagerRunner 512m "$conf"
      ;;
    worker-pool)
      need python "expected the Python that has our package"
      # The pool starts `python` from the PATH for each worker, which would import from the folder it stands in before anything else.
      cd /
      exec python -m apache_beam.runners.worker.worker_pool_main --service_port "${PORT:-50000}"
      ;;
    *) stop "${command:-no command}: expected jars, job-server, jobmanager, taskmanager or worker-pool" ;;
  esac
}

main "$@"
