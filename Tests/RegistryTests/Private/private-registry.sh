# private-registry.sh BERTH-IMAGE DIRECTORY
#
# A site's registry as it is, with Debian's docker-registry: TLS by an authority of the site's own, a token service, a
# proxy. Run in user, mount and network namespaces of its own, whose addresses are not loopback's: those need no TLS.
# Prints "ok CASE" or "not ok CASE: WHY".
set -u
berth=$1 top=$2
here=$(dirname "$(readlink -f "$0")")
cd "$top" || exit
name=registry.test
export HOME=$top/home PATH=/usr/bin:/bin:/usr/sbin:/sbin OTEL_TRACES_EXPORTER=none
mkdir -p home rootfs/bin stores
echo hello >rootfs/bin/hello

ip link set lo up && ip address add 192.0.2.77/32 dev lo && ip address add 169.254.169.254/32 dev lo || exit
printf '%s\n' "192.0.2.77 $name" "127.0.0.1 local.test" "::ffff:127.0.0.1 mapped.test" "169.254.169.254 metadata.test" >hosts && mount --bind hosts /etc/hosts || exit
{
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -subj /CN=site -days 2
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout tls.key -out tls.csr -subj "/CN=$name"
  openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out tls.crt \
    -extfile <(echo "subjectAltName=DNS:$name,IP:192.0.2.77")
} >openssl.log 2>&1 || { cat openssl.log; exit 1; }

registry() { # FILE PORT TEXT...
  printf '%s\n' 'version: 0.1' 'log: {level: error}' "storage: {filesystem: {rootdirectory: $top/storage}}" "${@:3}" >"$1"
  setpriv --pdeathsig KILL docker-registry serve "$1" >"$1.log" 2>&1 &
}
registry closed.yml 5443 "http: {addr: '192.0.2.77:5443', secret: one, tls: {certificate: $top/tls.crt, key: $top/tls.key}}" \
  "auth: {token: {realm: 'https://$name:5444/token', service: lab, issuer: lab, rootcertbundle: $top/tls.crt}}"
registry open.yml 5000 "http: {addr: '192.0.2.77:5000', secret: one}"
setpriv --pdeathsig KILL python3 "$here/token-service.py" 192.0.2.77 5444 tls.crt tls.key >token.log 2>&1 &
setpriv --pdeathsig KILL python3 "$here/connect-proxy.py" 3128 proxied >proxy.log 2>&1 &
trap 'kill $(jobs -p)' EXIT
for at in 192.0.2.77/5443 192.0.2.77/5000 192.0.2.77/5444 127.0.0.1/3128; do
  for ((i = 0; i < 600; i++)); do (: <"/dev/tcp/$at") 2>/dev/null && continue 2; sleep .1; done
  echo "nothing answers at $at"; tail ./*.log; exit 1
done

count=0
check() { # CASE STATUS PATTERN CMD...
  local output status
  output=$(BERTH_STORE=$top/stores/$((++count)) env "${@:4}" 2>&1); status=$?
  if [ $status = "$2" ] && grep -q -e "$3" <<<"$output"; then echo "ok $1"; else echo "not ok $1: $status: $output"; fi
}
pull() { check "$1" "$2" "$3" "${@:5}" "$berth" pull -q "$4"; }
login() { printf '{"auths":{"%s":{"auth":"%s"}}}' "$1" "$(printf %s "$2" | base64)"; }
digest='@sha256:'

export BERTH_INSECURE_REGISTRIES=$name:5000
for repository in public private; do
  check "pushing to $repository" 0 "$digest" "$berth" export -q dir:rootfs docker://$name:5000/$repository/it
done
pull "a registry without TLS, named as such" 0 "$digest" $name:5000/public/it
pull "a registry without TLS" 125 "cannot reach $name:5000 by HTTPS: it answers in plain HTTP" $name:5000/public/it BERTH_INSECURE_REGISTRIES=
pull "an unknown authority" 125 "cannot verify the certificate of $name:5443" $name:5443/public/it
check "a node without authorities" 125 "has no certificates of authorities" unshare -m sh -c 'mount -t tmpfs none /etc/ssl; "$@"' - \
  "$berth" pull -q $name:5443/public/it
for port in 5443 5444; do mkdir -p home/.config/containers/certs.d/$name:$port; cp ca.crt home/.config/containers/certs.d/$name:$port; done
pull "an authority of certs.d" 0 "$digest" $name:5443/public/it
rm -r home/.config
export SSL_CERT_FILE=$top/ca.crt
pull "an authority of SSL_CERT_FILE, an anonymous token" 0 "$digest" $name:5443/public/it
pull "a registry by its address" 0 "$digest" 192.0.2.77:5443/public/it

pull "no credentials" 125 "answered 401 Unauthorized" $name:5443/private/it
mkdir home/.docker
login $name:5443 me:secret >home/.docker/config.json
pull "Docker's config.json" 0 "$digest" $name:5443/private/it
login $name:5443 me:wrong >home/.docker/config.json
pull "a wrong password" 125 "home/.docker/config.json" $name:5443/private/it
login $name:5443/private me:secret >auth.json
pull "containers' auth.json, for a namespace" 0 "$digest" $name:5443/private/it REGISTRY_AUTH_FILE="$top/auth.json"
mkdir bin
printf '#!/bin/sh\nread -r host; echo "{\\"Username\\":\\"me\\",\\"Secret\\":\\"secret\\"}"\n' >bin/docker-credential-site
chmod +x bin/docker-credential-site
echo "{\"credHelpers\":{\"$name:5443\":\"site\"}}" >home/.docker/config.json
pull "a credential helper" 0 "$digest" $name:5443/private/it PATH="$top/bin:$PATH"
pull "a credential helper that is missing" 125 "docker-credential-site" $name:5443/private/it
rm home/.docker/config.json
mkdir -p home/.config/enroot
echo "machine $name login me password secret" >home/.config/enroot/.credentials
pull "Enroot's .credentials and spelling" 0 "$digest" "$name:5443#private/it"

: >proxied
pull "a proxy" 0 "$digest" $name:5443/public/it https_proxy=http://127.0.0.1:3128
if grep -q "CONNECT $name:5443 " proxied; then echo "ok by way of it"; else echo "not ok by way of it: $(cat proxied)"; fi
: >proxied
pull "no_proxy" 0 "$digest" $name:5443/public/it https_proxy=http://127.0.0.1:3128 no_proxy=.test
if [ ! -s proxied ]; then echo "ok past it"; else echo "not ok past it: $(cat proxied)"; fi
pull "an address by way of a proxy" 125 "certificate of 192.0.2.77:5443: it is for another name" 192.0.2.77:5443/public/it \
  https_proxy=http://127.0.0.1:3128
pull "a proxy that is not there" 125 "$name:5443 through the proxy 127.0.0.1:3129: connection refused" $name:5443/public/it \
  https_proxy=http://127.0.0.1:3129

# A registry that names token services, and redirects, by names that lead to this host or to the link-local network.
setpriv --pdeathsig KILL python3 "$here/luring-registry.py" 192.0.2.77 5600 5700 lured >lure.log 2>&1 &
for at in 192.0.2.77/5600 127.0.0.1/5700; do
  for ((i = 0; i < 600; i++)); do (: <"/dev/tcp/$at") 2>/dev/null && continue 2; sleep .1; done
  echo "nothing answers at $at"; cat lure.log; exit 1
done
mkdir -p home/.docker
login $name:5600 me:secret >home/.docker/config.json
export BERTH_INSECURE_REGISTRIES=$name:5600
for place in local.test mapped.test metadata.test; do
  pull "a token service at $place" 125 "requests credentials for http://$place:5700 (" $name:5600/realm-$place/it:1
  pull "a redirect to $place" 125 "redirects .* to http://$place:5700 (" $name:5600/redirect-$place/it:1
done
if [ ! -s lured ]; then echo "ok nothing was sent there"; else echo "not ok nothing was sent there: $(cat lured)"; fi
