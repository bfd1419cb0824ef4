#!/usr/bin/env bash
# Builds both containers, replaces the running ones, and returns when they are healthy and the API
# answers through nginx.
#
#   ./deploy.sh                                  on this machine
#   DOCKER_HOST=ssh://user@host ./deploy.sh      on another one, over SSH
#
# Nothing that runs is touched before both images are built and have been tried on the side, with
# the settings and the storage they are to run with. The volume with the backups is never removed, and
# not exchanged for another storage without a word.
# Settings come from .env (see .env.example). Exits 0 only if everything answered.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# An attestation changes with every build, and a container whose image changed is restarted.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

main() {
  (($# == 0)) || fail "there are no arguments; see the head of deploy.sh"
  docker compose version >/dev/null || fail "Docker with Compose v2 is needed"
  docker info >/dev/null || fail "no Docker engine answers${DOCKER_HOST:+ at $DOCKER_HOST}"

  config=$(docker compose config backup) || fail "Compose does not take these settings"
  check_project
  check_storage

  BACKUP_REVISION=$(revision Dockerfile setup.cfg pyproject.toml constraints.txt backup_server)
  PORTFOLIO_REVISION=$(revision portfolio)
  export BACKUP_REVISION PORTFOLIO_REVISION

  say "building backup at $BACKUP_REVISION, portfolio at $PORTFOLIO_REVISION"
  docker compose build --quiet </dev/null || fail "the build failed; what was running is untouched"

  say "trying it on the side"
  try_storage
  try_settings

  say "replacing what runs"
  docker compose up --detach --no-build --wait --wait-timeout 300 ||
    fail_with_logs "not healthy; the backups are untouched"
  probe
  summary
}

# The last commit that changed what an image is made of; other commits restart nothing.
revision() {
  local commit
  commit=$(git log -1 --format=%h -- "$@" 2>/dev/null) || commit=
  [[ -z $commit || -z $(git status --porcelain -- "$@") ]] || commit+=-modified
  echo "${commit:-unknown}"
}

say() { echo "deploy: $*"; }

fail() {
  echo "deploy: $*" >&2
  exit 1
}

fail_with_logs() {
  local service state health container
  while read -r service state health container; do
    [[ $state == running && $health == healthy ]] && continue
    echo "deploy: $service is $state, $health; its last lines:" >&2
    docker logs --tail 20 "$container" >&2
    docker inspect --format '{{range .State.Health.Log}}{{.Output}}{{end}}' "$container" |
      awk 'NF { line = $0 } END { if (line) print "deploy: last health check: " line }' >&2
  done < <(docker compose ps --all --format '{{.Service}} {{.State}} {{or .Health "-"}} {{.ID}}')
  fail "$@"
}

# The containers of a service of ours, as lines of the format given, running or not.
containers() {
  docker ps --all --filter "label=com.docker.compose.project=$(sed -n 's/^name: //p' <<<"$config")" \
    --filter label=com.docker.compose.oneoff=False \
    --filter "label=com.docker.compose.service=$1" --format "$2"
}

# Compose would replace containers of another project that has this one's name.
check_project() {
  local service name title
  for service in backup portfolio prune; do
    while read -r name title; do
      [[ $title == portfolio* ]] || fail "the container $name is in the way: it belongs to another" \
        "project of this name. Give this one its own in .env, such as COMPOSE_PROJECT_NAME=my-portfolio"
    done < <(containers $service '{{.Names}} {{.Label "org.opencontainers.image.title"}}')
  done
}

# What a container keeps its backups in: the name of a volume, or a directory.
storage_of() {
  docker inspect --format \
    '{{range .Mounts}}{{if eq .Destination "/data/backups"}}{{or .Name .Source}}{{end}}{{end}}' "$1"
}

# What these settings would keep them in.
next_storage() {
  awk '$1 == "source:" { sub(/^ *source: /, ""); source = $0 }
    $1 == "target:" && $2 == "/data/backups" { storage = source }
    $1 == "name:" && volume == storage { storage = $2 }
    { volume = $1; sub(/:$/, "", volume) }
    END { print storage }' <<<"$config"
}

check_storage() {
  local container now next
  container=$(containers backup '{{.ID}}')
  [[ -n $container ]] || return 0
  now=$(storage_of "$container") next=$(next_storage)
  [[ $next == "$now" || $next == "${NEW_STORAGE:-}" ]] || fail "$(
    cat <<MESSAGE
the backups are in $now, and these settings would have the server use
$next instead, so nothing was replaced. DATA_DIR and BACKUP_VOLUME choose it; an exported variable
overrides .env. If the other storage is what you mean:

  NEW_STORAGE=$next ./deploy.sh
MESSAGE
  )"
}

# A one-off container of a service, beside the running one: same image, settings and storage.
aside() { docker compose run --rm --no-deps --no-TTY "$@"; }

try_storage() {
  # The Express server ran as root, and so its volume belongs to root; this one has no such rights.
  aside --entrypoint test backup -w /data/backups || fail "$(
    cat <<'MESSAGE'
the server (user 10001) cannot write to the storage directory, so nothing was replaced. This gives
it the directory, after which ./deploy.sh goes on:

  docker compose run --rm --no-deps --user 0 --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER --entrypoint sh backup \
    -c 'chown -R 10001:10001 /data/backups && chmod -R u=rwX,go= /data/backups'
MESSAGE
  )"
}

try_settings() {
  aside backup gunicorn --check-config 'backup_server:create_app()' ||
    fail "the backup server does not start with these settings; what was running is untouched"
  aside portfolio nginx -e stderr -p /var/cache/portfolio -t -q -c /etc/nginx/conf.d/nginx.conf ||
    fail "nginx does not start with these settings; what was running is untouched"
}

# From inside the containers: wherever DOCKER_HOST is, the ports are there.
probe() {
  local url
  for url in http://127.0.0.1:8080/ http://127.0.0.1:8080/api/health \
    "http://backup:$(docker compose exec -T backup printenv PORT)/api/health"; do
    docker compose exec -T portfolio \
      curl --fail --silent --show-error --max-time 10 --output /dev/null "$url" ||
      fail_with_logs "$url, asked for in the portfolio container, does not answer"
  done
}

summary() {
  local at host
  say "deployed to ${DOCKER_HOST:-this machine}:"
  docker compose ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'
  echo "backups in $(storage_of "$(containers backup '{{.ID}}')")"

  at=$(docker compose port portfolio 8080)
  host=$(docker compose exec -T portfolio printenv PUBLIC_HOST)
  if [[ $at == 127.* || $at == *::1* ]]; then
    say "open http://localhost:${at##*:}/ on that machine, or the address of the proxy in front"
    return
  fi
  if [[ $host == localhost && ${DOCKER_HOST:-} =~ ^(ssh|tcp)://([^@/]*@)?([^:/]+) ]]; then
    host=${BASH_REMATCH[3]}
  fi
  say "open http://$host:${at##*:}/"
  docker compose exec -T backup printenv BACKUP_TOKEN >/dev/null || cat <<MESSAGE
deploy: warning: there is no token, so whoever reaches port ${at##*:} can read and delete all backups.
This line sets one:

  echo "BACKUP_TOKEN=\$(openssl rand -hex 32)" >>.env && ./deploy.sh
MESSAGE
}

main "$@"
