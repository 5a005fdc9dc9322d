# The steps of scripts/package.sh, which has the variables.
# shellcheck shell=sh disable=SC2154 # variables of package.sh

# Moves a file into the output by rename.
put() {
  cp "$1" "$out/.${1##*/}.$$"
  mv -f "$out/.${1##*/}.$$" "$out/${1##*/}"
}

# A tar archive of DIRECTORY in its parent, with the same bytes for the same files.
reproducible_tar() {
  tar --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mode=go-w "--mtime=@$SOURCE_DATE_EPOCH" \
    -C "${1%/*}" -cf - "${1##*/}"
}

# What all packages have, except native files. The source map is as large as all the rest, and stays out.
stage_common() {
  mkdir -p "$1/bin" "$1/dist" "$1/packaging"
  install -m 755 bin/davit "$1/bin/davit"
  for file in davit.cjs serve.cjs davit-unpack.cjs davit-archive.cjs davit-verify.cjs ui.json; do
    install -m 644 "dist/$file" "$1/dist/$file"
  done
  sed -i '/^\/\/# sourceMappingURL=/d' "$1/dist/davit.cjs"
  for file in packaging/*; do
    [ ! -f "$file" ] || install -m 644 "$file" "$1/packaging/"
  done
  cp -R packaging/monitoring "$1/packaging/"
  rm "$1/packaging/monitoring/davit-alerts-test.yaml"
  install -m 644 LICENSE NOTICE "$1/"
}

# The packages for npm, which takes archives as they are: davit is for programs, davit-daemon is the runtime.
pack_npm() {
  pack_npm_daemon
  mkdir -p "$work/npm-sdk"
  sh scripts/package/stage-sdk.sh "$work/npm-sdk/package"
  reproducible_tar "$work/npm-sdk/package" | gzip -9n >"$work/davit-$version.tgz"
  put "$work/davit-$version.tgz"
}

# For both architectures; Node.js is that of the machine.
pack_npm_daemon() {
  package=$work/npm/package
  mkdir -p "$work/npm"
  cp -R "$work/common" "$package"
  for arch in x64 arm64; do
    mkdir -p "$package/dist/$arch"
    stage_native "$arch" "$package/dist/$arch"
  done
  cp README.md "$package/README.md"
  cat >"$package/package.json" <<EOF
{
  "name": "davit-daemon",
  "version": "$version",
  "description": "A container runtime for Kubernetes nodes (CRI runtime.v1)",
  "license": "Apache-2.0",
  "type": "module",
  "bin": { "davit": "bin/davit" },
  "engines": { "node": ">=24" },
  "os": ["linux"],
  "cpu": ["x64", "arm64"],
  "libc": ["glibc"]
}
EOF
  reproducible_tar "$package" | gzip -9n >"$work/davit-daemon-$version.tgz"
  put "$work/davit-daemon-$version.tgz"
}

# stage_native ARCH DIRECTORY: the addon and the programs for containers.
stage_native() {
  for file in davit.node davit-holder davit-waiter davit-exec davit-env davit-monitor; do
    install -m 755 "$work/native/$1/$file" "$2/$file"
  done
  # A shared library that nothing executes.
  chmod 644 "$2/davit.node"
}

# Node.js for ARCH into $work/node-ARCH: that of node_modules, or npm's package with the digest of package-lock.json.
fetch_node() {
  name=node-linux-$1
  source=node_modules/$name
  if [ ! -f "$source/bin/node" ]; then
    lock=$("$node" -p "const lock = require('./package-lock.json').packages['node_modules/$name'];
      lock.version + ' ' + lock.integrity")
    source=node_modules/.cache/davit-packages/$name-${lock%% *}
    [ -f "$source/bin/node" ] || download_node "$name@${lock%% *}" "${lock##* }" "$source"
  fi
  case $1-$(uname -m) in
    x64-x86_64 | arm64-aarch64) strip=strip ;;
    x64-*) strip=x86_64-linux-gnu-strip ;;
    *) strip=aarch64-linux-gnu-strip ;;
  esac
  mkdir -p "$work/node-$1"
  $strip --strip-unneeded -o "$work/node-$1/node" "$source/bin/node"
  cp "$source/LICENSE" "$work/node-$1/LICENSE"
}

# download_node PACKAGE INTEGRITY DIRECTORY
download_node() {
  echo "download $1"
  mkdir -p "$work/download" "$(dirname "$3")"
  npm pack --silent --pack-destination "$work/download" "$1" >/dev/null
  file=$(ls "$work"/download/*.tgz)
  digest=sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w 0)
  if [ "$digest" != "$2" ]; then
    echo "package: $1 of the npm registry is not the one of package-lock.json: its digest is $digest" >&2
    exit 1
  fi
  tar -xzf "$file" -C "$work/download" package/bin/node package/LICENSE
  rm "$file"
  rm -rf "$3"
  mv "$work/download/package" "$3"
}

# stage_release ARCH DIRECTORY: davit as it lies on a node, with its Node.js.
stage_release() {
  mkdir -p "${2%/*}"
  cp -R "$work/common" "$2"
  stage_native "$1" "$2/dist"
  install -m 755 "$work/node-$1/node" "$2/bin/node"
  install -m 644 "$work/node-$1/LICENSE" "$2/LICENSE.node"
  printf '{ "name": "davit", "version": "%s", "private": true }\n' "$version" >"$2/package.json"
}

# Level 1 of xz: the packages are a sixth larger than with level 6, and made in a seventh of the time. One thread, since
# the number of threads decides about the bytes.
pack_tarball() {
  release=$work/release/davit-$version-linux-$1
  cp -R "$release" "$release.plain"
  mkdir "$work/plain-$1"
  mv "$release.plain" "$work/plain-$1/davit-$version-linux-$1"
  sed "s/@VERSION@/$version/g; s/@ARCH@/$1/g" packaging/plain/INSTALL \
    >"$work/plain-$1/davit-$version-linux-$1/INSTALL"
  file=$work/davit-$version-linux-$1.tar.xz
  reproducible_tar "$work/plain-$1/davit-$version-linux-$1" | xz -1 -T1 >"$file"
  put "$file"
}

# pack_deb ARCH: /usr/lib/davit with a link in /usr/bin, unit, conffile, man pages and completions.
pack_deb() {
  case $1 in x64) debian_arch=amd64 ;; *) debian_arch=$1 ;; esac
  root=$work/deb-$1
  home=$root/usr/lib/davit
  doc=$root/usr/share/doc/davit
  mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/lib/systemd/system" "$doc/examples" \
    "$root/etc/davit" "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/usr/share/lintian/overrides"
  cp -R "$work/release/davit-$version-linux-$1" "$home"
  # Debian has licenses in /usr/share/doc.
  rm "$home/LICENSE" "$home/LICENSE.node" "$home/NOTICE"
  ln -s ../lib/davit/bin/davit "$root/usr/bin/davit"
  install -m 644 packaging/davit.toml "$root/etc/davit/davit.toml"
  install -m 644 packaging/10-davit.conflist packaging/crictl.yaml packaging/kubelet-davit.conf "$doc/examples/"
  sed -e '1,/^\[Unit\]/{/^#/d}' -e 's|^ExecStart=.*/bin/davit |ExecStart=/usr/bin/davit |' packaging/davit.service \
    >"$root/usr/lib/systemd/system/davit.service"
  stage_pages "$root/usr/share"
  "$node" scripts/package/debian-texts.ts changelog | gzip -9n >"$doc/changelog.gz"
  "$node" scripts/package/debian-texts.ts copyright "$work/node-$1/LICENSE" >"$doc/copyright"
  install -m 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/davit"
  control_files
  find "$root" -type d -exec chmod 755 '{}' +
  find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" '{}' +
  file=$work/davit_${version}_$debian_arch.deb
  dpkg-deb --root-owner-group -Zxz -z1 --threads-max=1 --build "$root" "$file" >/dev/null
  put "$file"
}

# Man pages and completions, by the davit of this build.
stage_pages() {
  for shell in bash zsh fish; do dist_davit completion $shell >"$work/completion.$shell"; done
  install -m 644 "$work/completion.bash" "$1/bash-completion/completions/davit"
  install -m 644 "$work/completion.zsh" "$1/zsh/vendor-completions/_davit"
  install -m 644 "$work/completion.fish" "$1/fish/vendor_completions.d/davit.fish"
  [ -f scripts/man.ts ] || return 0
  "$node" scripts/man.ts "$1/man"
  find "$1/man" -type f -exec gzip -9n '{}' +
}

dist_davit() {
  DAVIT_NODE='' sh bin/davit "$@"
}

control_files() {
  size=$(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
  sed -e "s/@VERSION@/$version/; s/@ARCH@/$debian_arch/; s/@SIZE@/$size/" \
    -e "s/@MAINTAINER@/${DAVIT_MAINTAINER:-The davit authors <davit@davit.invalid>}/" packaging/debian/control \
    >"$root/DEBIAN/control"
  install -m 755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN/"
  echo /etc/davit/davit.toml >"$root/DEBIAN/conffiles"
  (cd "$root" && find usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
}
