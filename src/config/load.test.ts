import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { kindOf } from "../base/errors.ts";
import { ConfigError, defaultConfig, loadConfig, parseConfig } from "./load.ts";

const FILE = "/etc/davit/davit.toml";

function findings(toml: string): readonly string[] {
  try {
    parseConfig(toml, FILE);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.kind, "invalid-argument");
    return error.findings.map(({ line, message }) => `${line}: ${message}`);
  }
  return [];
}

test("parseConfig() freezes the whole configuration", () => {
  const config = parseConfig(
    'runtime.handlers.x = { runtime_type = "a.b", options = { o = { p = 1 } } }',
    FILE,
  );
  const all: unknown[] = [config];
  for (const value of all) {
    assert.ok(Object.isFrozen(value));
    if (typeof value === "object" && value !== null)
      all.push(...(Object.values(value) as unknown[]));
  }
  assert.ok(all.length > 50);
});

test("parseConfig() reads each kind of value", () => {
  const config = parseConfig(
    `root = "/data"
    log.level = "debug"
    [cni]
    bin_dirs = ["/a", "/b"]
    max_parallel = 2
    [runtime]
    default_handler = "kata"
    [runtime.handlers.kata]
    controller = "shim"
    runtime_type = "io.containerd.kata.v2"
    options = { ConfigPath = "/etc/kata.toml", n = 3, list = [1, "a"], deep = { on = true } }
    privileged_without_host_devices = true`,
    FILE,
  );
  assert.equal(config.root, "/data");
  assert.equal(config.log.level, "debug");
  assert.deepEqual(config.cni.binDirs, ["/a", "/b"]);
  assert.equal(config.cni.maxParallel, 2);
  const kata = config.runtime.handlers["kata"];
  assert.equal(kata?.controller, "shim");
  assert.equal(kata.path, "");
  assert.equal(kata.privilegedWithoutHostDevices, true);
  const options = { ConfigPath: "/etc/kata.toml", n: 3, list: [1, "a"], deep: { on: true } };
  assert.deepEqual(kata.options, options);
});

test("parseConfig() reads tracing, and shows no credentials in errors", () => {
  const read = (toml: string): unknown => parseConfig(`[tracing]\n${toml}`, FILE).tracing;
  assert.deepEqual(
    read(`endpoint = "https://u:p@otel.example/x"
    protocol = "http/json"
    sampling_ratio = 1
    headers = { Authorization = "Bearer a" }`),
    {
      endpoint: "https://u:p@otel.example/x",
      protocol: "http/json",
      headers: { Authorization: "Bearer a" },
      samplingRatio: 1,
      serviceName: "davit",
    },
  );
  assert.deepEqual(
    findings(`[tracing]
    endpoint = "ftp://me:swordfish@otel.example"
    protocol = "grpc"
    sampling_ratio = 1.5
    headers = { Authorization = "swordfish\\n" }
    service_name = ""`),
    [
      `2: "tracing.endpoint" is invalid: must be a URL with http:// or https://, or "" for none`,
      `3: "tracing.protocol" is "grpc": must be one of "http/protobuf", "http/json"`,
      `4: "tracing.sampling_ratio" is 1.5: must be a number from 0 to 1, such as 0.01`,
      `5: "tracing.headers" is invalid: must be a table of HTTP headers: names, and strings of printable ASCII`,
      `6: "tracing.service_name" is "": must be 1 to 255 printable ASCII characters`,
    ],
  );
});

test("parseConfig() adds handlers to crun and runc, overrides their keys, and disables them", () => {
  const names = (toml: string): string[] => Object.keys(parseConfig(toml, FILE).runtime.handlers);
  assert.deepEqual(names('[runtime.handlers.youki]\npath = "youki"'), ["crun", "runc", "youki"]);
  assert.deepEqual(names("[runtime.handlers.runc]\nenabled = false"), ["crun"]);
  const changed = parseConfig('[runtime.handlers.crun]\ncni_conf_dir = "/x"', FILE);
  assert.equal(changed.runtime.handlers["crun"]?.path, "crun");
  assert.equal(changed.runtime.handlers["crun"].cniConfDir, "/x");
  const shim = parseConfig('[runtime.handlers.runc]\nruntime_type = "io.containerd.runc.v2"', FILE);
  assert.equal(shim.runtime.handlers["runc"]?.path, "");
  assert.equal(shim.runtime.handlers["constructor"], undefined);
});

test("parseConfig() rejects a setting of a handler that has no effect without another one", () => {
  const handler = "[runtime.handlers.crun]\n";
  const allowed = "privileged_without_host_devices_all_devices_allowed";
  assert.deepEqual(findings(`${handler}${allowed} = true`), [
    `2: "runtime.handlers.crun.${allowed}" has no effect alone: set runtime.handlers.crun.privileged_without_host_devices to true`,
  ]);
  const both = `${handler}${allowed} = true\nprivileged_without_host_devices = true`;
  assert.equal(parseConfig(both, FILE).runtime.handlers["crun"]?.cgroupWritable, false);
});

test("parseConfig() requires both settings of credential providers, or neither", () => {
  const [config, bin] = ["credential_providers_config", "credential_providers_bin_dir"];
  for (const [given, missing] of [
    [config, bin],
    [bin, config],
  ]) {
    assert.deepEqual(findings(`[images]\n${given} = "/x"`), [
      `2: "images.${given}" has no effect alone: set images.${missing}, too`,
    ]);
  }
  const { images } = parseConfig(`[images]\n${config} = "/x"\n${bin} = "/y"`, FILE);
  assert.equal(images.credentialProvidersBinDir, "/y");
});

test("parseConfig() suggests the key that was probably meant", () => {
  assert.throws(() => parseConfig('[cni]\nconfdir = "/x"', FILE), {
    message: `read configuration "${FILE}": unknown key "cni.confdir", did you mean "cni.conf_dir"? (line 2)`,
  });
  assert.deepEqual(findings("[sevrer]\n[log]\nlevle = 1\n[runtime.handlers.crun]\npaht = 2"), [
    '1: unknown key "sevrer", did you mean "server"?',
    '3: unknown key "log.levle", did you mean "log.level"?',
    '5: unknown key "runtime.handlers.crun.paht", did you mean "runtime.handlers.crun.path"?',
  ]);
  assert.deepEqual(findings('conf_dirs = "/x"\n[cni]\nmax_message_bytes = 1\nzzzzzz = 1'), [
    '1: unknown key "conf_dirs", did you mean "cni.conf_dir"?',
    '3: unknown key "cni.max_message_bytes", did you mean "server.max_message_bytes"?',
    '4: unknown key "cni.zzzzzz"',
  ]);
});

test("parseConfig() rejects an invalid value with its key, the value and what is allowed", () => {
  const path = 'an absolute path without ".", ".." or a trailing slash';
  const cases: readonly (readonly [string, string])[] = [
    ['root = ""', `"root" is "": must be ${path}`],
    ['root = "/"', `"root" is "/": must be ${path}`],
    ['state = "run/davit"', `"state" is "run/davit": must be ${path}`],
    ['state = "/run/../davit"', `"state" is "/run/../davit": must be ${path}`],
    [
      'state = "/var/lib/davit"',
      '"state" is "/var/lib/davit": must be a different directory from root',
    ],
    [
      'writable_root = "/var/lib/davit/roots"',
      '"writable_root" is "/var/lib/davit/roots": must be a directory on a file system of its own, not root, inside its "roots" or state',
    ],
    [
      "images = { gc_high_percent = 70 }",
      '"images.gc_low_percent" is 80: must be less than images.gc_high_percent, which is 70',
    ],
    ["root = 1", `"root" is 1: must be ${path}`],
    ["server = 1", '"server" is 1: must be a table, written as [server]'],
    [
      'server.listen = "unix:///run/x"',
      `"server.listen" is "unix:///run/x": must be ${path}, of at most 107 bytes and without "unix://"`,
    ],
    [
      "server.max_message_bytes = 1048575",
      '"server.max_message_bytes" is 1048575: must be an integer from 1048576 (1 MiB) to 1073741824 (1 GiB)',
    ],
    [
      "server.max_message_bytes = 1073741825",
      '"server.max_message_bytes" is 1073741825: must be an integer from 1048576 (1 MiB) to 1073741824 (1 GiB)',
    ],
    ["cni.max_parallel = 8.0", '"cni.max_parallel" is 8.0: must be an integer from 1 to 256'],
    [
      "cni.bin_dirs = []",
      `"cni.bin_dirs" is []: must be a list of one or more paths, each ${path}`,
    ],
    [
      'log.level = "loud"',
      '"log.level" is "loud": must be one of "debug", "info", "warn", "error"',
    ],
    [
      'runtime.cgroup_driver = "docker"',
      '"runtime.cgroup_driver" is "docker": must be one of "cgroupfs", "systemd"',
    ],
    [
      'runtime.monitor_path = "./conmon"',
      `"runtime.monitor_path" is "./conmon": must be a command name on PATH, or ${path}`,
    ],
    [
      'runtime.default_handler = "kata"',
      '"runtime.default_handler" is "kata": must be one of the handlers "crun", "runc"',
    ],
    [
      "runtime.handlers.crun.enabled = false",
      '"runtime.default_handler" is "crun": must be one of the handlers "runc"',
    ],
    [
      'runtime.handlers.crun.controller = "vm"',
      '"runtime.handlers.crun.controller" is "vm": must be one of "podsandbox", "shim"',
    ],
    [
      "runtime.handlers.a = {}",
      '"runtime.handlers.a" has neither path nor runtime_type: set one of them to an OCI runtime or a shim',
    ],
    [
      'runtime.handlers.a = { path = "a", runtime_type = "b.c" }',
      '"runtime.handlers.a" has both path = "a" and runtime_type = "b.c": remove one of them',
    ],
    [
      'runtime.handlers.a = { path = "a", controller = "shim" }',
      `"runtime.handlers.a" has controller = "shim" without runtime_type: only a shim can create the sandbox`,
    ],
    [
      'runtime.handlers.a = { path = "a", options = { x = 1 } }',
      '"runtime.handlers.a.options" has no effect with path: it requires runtime_type',
    ],
    [
      'runtime.handlers."a b" = { path = "a" }',
      'handler name "a b" is invalid: must consist of letters, digits, "-", "_" and "."',
    ],
    [
      'runtime.handlers.a = { runtime_type = "b.c", options = { t = 2020-01-01 } }',
      '"runtime.handlers.a.options" is {"t":"2020-01-01"}: must be a table of strings, numbers, booleans, lists and tables',
    ],
  ];
  for (const [toml, expected] of cases) {
    const found = findings(toml);
    assert.equal(found.length, 1, toml);
    assert.equal(found[0]?.replace(/^(1|undefined): /, ""), expected);
  }
});

test("parseConfig() reports all errors, by line", () => {
  const found = findings('root = 1\nstate = 2\n[log]\nlevel = 3\nx = """\nroot = 1\n"""\ny = 1');
  assert.deepEqual(
    found.map((finding) => finding.slice(0, 2)),
    ["1:", "2:", "4:", "5:", "8:"],
  );
});

test("parseConfig() reports the line at which a file is not TOML", () => {
  const [finding, ...more] = findings('root = "/a"\nstate = /b\n');
  assert.deepEqual(more, []);
  assert.match(finding ?? "", /^2: not valid TOML: \S/);
  assert.ok(!finding?.includes("\n"));
});

test("loadConfig() reads a file, and throws not-found when there is none", () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-config-"));
  try {
    const file = join(directory, "davit.toml");
    writeFileSync(file, 'log.level = "warn"\n');
    assert.equal(loadConfig(file).log.level, "warn");
    assert.deepEqual(loadConfig(undefined), defaultConfig());
    const absent = join(directory, "absent.toml");
    assert.throws(
      () => loadConfig(absent),
      (error: Error) =>
        kindOf(error) === "not-found" &&
        error.message ===
          `read configuration "${absent}": no such file; "davit config default" prints one to start from`,
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("server.group must be an existing group, or a gid", () => {
  const groupOf = (value: string): string =>
    parseConfig(`[server]\ngroup = ${value}\n`, FILE).server.group;
  assert.equal(groupOf('"root"'), "root");
  assert.equal(groupOf("1001"), "1001");
  assert.equal(groupOf('"1001"'), "1001");
  assert.deepEqual(findings('[server]\ngroup = "no-such-group"\n'), [
    '2: "server.group" is "no-such-group": must be a group of /etc/group, or a gid',
  ]);
  for (const bad of ["-1", "4294967295", '"4294967295"', '"a:b"', '"a\\nb"', "true", '" "']) {
    const [finding = ""] = findings(`[server]\ngroup = ${bad}\n`);
    assert.match(finding, /^2: "server\.group" is .*: must be a group name, a gid, or ""/, bad);
  }
});

test("metrics.listen must be a TCP address or the path of a socket", () => {
  const listen = (value: string): readonly string[] =>
    findings(`[metrics]\nlisten = ${JSON.stringify(value)}\n`);
  for (const good of [
    "",
    "127.0.0.1:9090",
    "0.0.0.0:1",
    "[::1]:65535",
    "localhost:9090",
    "/run/davit/metrics.sock",
    "unix:///run/davit/metrics.sock",
  ]) {
    assert.deepEqual(listen(good), [], good);
  }
  for (const bad of [
    "9090",
    ":9090",
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:0x50",
    "::1:9090",
    "[127.0.0.1]:9090",
    "metrics.example:9090",
    "http://127.0.0.1:9090",
    "run/metrics.sock",
    "unix://run/metrics.sock",
    "/run/../metrics.sock",
    "/run/",
    `/${"x".repeat(107)}`,
  ]) {
    const [finding = ""] = listen(bad);
    assert.match(
      finding,
      /^2: "metrics\.listen" is ".*": must be "HOST:PORT" with an IP addr/,
      bad,
    );
  }
  const same = 'server.listen = "/run/x.sock"\nmetrics.listen = "unix:///run/x.sock"\n';
  assert.deepEqual(findings(same), [
    '2: "metrics.listen" is "unix:///run/x.sock": must be a different socket from server.listen',
  ]);
});

test("parseConfig() finds the lines of long keys and long lines in time", () => {
  const long = [`x${".x".repeat(100_000)} = 1`, `${" ".repeat(100_000)}y = 2`, "z = 3"].join("\n");
  assert.throws(
    () => parseConfig(`text = """\n"""\n${long}`, "c.toml"),
    (error: Error) => /"z" \(line 5\)|"z".*line 5/s.test(error.message),
  );
});

test("parseConfig() reads [nri] and its validator, and rejects what they do not have", () => {
  const { nri } = parseConfig(
    `[nri]
    plugin_request_timeout = 7
    disable_connections = true
    [nri.default_validator]
    enable = true
    required_plugins = ["topology"]`,
    FILE,
  );
  assert.partialDeepStrictEqual(nri, {
    enable: true,
    socketPath: "/var/run/nri/nri.sock",
    pluginRequestTimeout: 7,
    disableConnections: true,
    defaultValidator: {
      enable: true,
      requiredPlugins: ["topology"],
      rejectSysctlAdjustment: false,
    },
  });
  assert.deepEqual(
    findings("[nri]\nplugin_request_timeout = 0\n[nri.default_validator]\nenabled = 1"),
    [
      '2: "nri.plugin_request_timeout" is 0: must be an integer from 1 to 3600',
      '4: unknown key "nri.default_validator.enabled", did you mean "nri.default_validator.enable"?',
    ],
  );
});
