import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { containerConfig, parsePodManifests, type PodManifest } from "../../manifest/index.ts";
import { parseCommandLine } from "../command-line/parse.ts";
import { run } from "../commands/run.ts";
import { hostAddress, readHosts } from "./hosts.ts";
import { beyondManifest, imageManifest } from "./manifest.ts";
import { baseName } from "./name.ts";
import { codeOf } from "./run.ts";
import { checkImageName, type PathKind, targetOf } from "./target.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-run-image-"));
after(() => rmSync(directory, { recursive: true }));

const node = { podsRoot: "/pods", resolvConf: "", nodeName: "n", memoryBytes: 2 ** 33 };
const own = { HOME: "/home/me" };

function kindAt(path: string): PathKind {
  return path === "/etc/hosts" ? "file" : path === "/srv" ? "directory" : undefined;
}

function parse(...words: string[]) {
  const parsed = parseCommandLine(["run", ...words], [run]);
  assert.ok(parsed.ask === "run");
  return parsed;
}

/** The manifest of a command line, and the pod that is read from it. */
function manifest(...words: string[]) {
  const { options, operands } = parse(...words);
  const [image = "", ...command] = operands;
  const request = { image, command, options, terminal: options.has("tty") };
  const value = imageManifest(request, options.text("name") ?? baseName(image), {
    env: own,
    kindAt,
  });
  const [pod] = parsePodManifests(JSON.stringify(value), "m", node);
  assert.ok(pod);
  return { value, pod };
}

function config(pod: PodManifest) {
  const [container] = pod.containers;
  assert.ok(container);
  const hostPaths = container.volumeMounts.map(() => "/somewhere");
  const state = { imageId: "i", imageUser: { username: "" }, podIps: [], hostPaths, node };
  return containerConfig(container, pod, state);
}

function errorOf(...words: string[]): string {
  try {
    manifest(...words);
  } catch (error) {
    return (error as Error).message;
  }
  return assert.fail("was not rejected");
}

describe("the operands of davit run", () => {
  test("a first operand that is an image makes the rest its command", () => {
    const { operands, options } = parse("-it", "alpine:3", "sh", "-c", "ls -l", "--rm");
    assert.deepEqual(operands, ["alpine:3", "sh", "-c", "ls -l", "--rm"]);
    assert.equal(options.has("rm"), false);
    assert.deepEqual(parse("alpine", "--", "ls", "--", "-l").operands, [
      "alpine",
      "ls",
      "--",
      "-l",
    ]);
  });

  test("options may follow manifests, and all operands are manifests with -f", () => {
    const { operands, options } = parse("a.yaml", "b.json", "--replace");
    assert.deepEqual(operands, ["a.yaml", "b.json"]);
    assert.ok(options.has("replace"));
    assert.ok(parse("-f", "a.yaml", "nginx", "--replace").options.has("replace"));
  });

  test("a manifest is a file that exists, or has the name of one", () => {
    const kind = (word: string): PathKind =>
      word === "hello" ? "file" : word === "dir" ? "directory" : undefined;
    for (const word of [
      "-",
      "x.yaml",
      "x.yml",
      "x.json",
      "hello",
      "./x",
      "../x",
      "/x",
      "~/x",
      ".",
    ]) {
      assert.equal(targetOf(word, kind), "manifest", word);
    }
    for (const word of ["nginx", "dir", "a/b:1", "localhost:5000/x", "hello:latest"]) {
      assert.equal(targetOf(word, kind), "image", word);
    }
  });

  test("a word that cannot be an image is rejected", () => {
    const digest = `sha256:${"a".repeat(64)}`;
    const good = ["nginx", "nginx:1.27-alpine", `nginx@${digest}`, `n:1@${digest}`, digest];
    const hosts = ["localhost/x", "localhost:5000/a/b", "Quay.io/x/y_z:1", "[::1]:5000/x", "h:1/x"];
    for (const word of [...good, ...hosts]) checkImageName(word);
    for (const word of ["Nginx", "a b", "nginx:", "a//b", "x:y:z", "@", "a/B", "nginx@sha256:1"]) {
      assert.throws(() => checkImageName(word), { exitCode: 2, message: /no such file/ }, word);
    }
  });

  test("options of docker that have no equal are rejected with what does", () => {
    for (const [words, expected] of [
      [["--restart", "always", "x"], /"--restart" is not supported: davit run does not restart/],
      [["--restart=always", "x"], /"--restart" is not supported/],
      [["--platform", "linux/arm64", "x"], /this machine's platform/],
      [["-P", "x"], /-p 8080:80/],
    ] as const) {
      assert.throws(() => parse(...words), { exitCode: 2, message: expected });
    }
  });
});

describe("imageManifest()", () => {
  test("has only what differs from the defaults", () => {
    assert.deepEqual(manifest("docker.io/library/nginx:1.27").value, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "nginx" },
      spec: {
        restartPolicy: "Never",
        containers: [
          {
            name: "nginx",
            image: "docker.io/library/nginx:1.27",
            imagePullPolicy: "IfNotPresent",
          },
        ],
      },
    });
  });

  test("passes words and variables as they are, whatever Kubernetes would expand", () => {
    const words = ["$(A)", "$$", "$$(A)", "$HOME", "a$", "$$$(B)"];
    const { pod } = manifest("-e", "A=$(HOME)$$", "-e", "HOME", "-e", "NONE", "x", ...words);
    const { args, envs } = config(pod);
    assert.deepEqual(args, words);
    const pairs = envs?.map(({ key, value }) => `${key}=${Buffer.from(value ?? []).toString()}`);
    assert.deepEqual(pairs, ["A=$(HOME)$$", "HOME=/home/me"]);
  });

  test("reads variables from files, which -e replaces", () => {
    const file = join(directory, "env");
    writeFileSync(file, "# comment\n\nA=1\nB=x=y z\r\n  HOME\nNONE\n");
    const { pod } = manifest("--env-file", file, "-e", "A=2", "x");
    assert.deepEqual(pod.containers[0]?.env, [
      { name: "A", value: "2" },
      { name: "B", value: "x=y z" },
      { name: "HOME", value: "/home/me" },
    ]);
    assert.match(
      errorOf("--env-file", join(directory, "none"), "x"),
      /read env file .*no such file/,
    );
    assert.match(errorOf("-e", "=1", "x"), /"--env" has "=1": must be NAME=VALUE or NAME/);
  });

  test("sets streams, entrypoint, directory, user and pull policy", () => {
    const { pod } = manifest(
      ...["-i", "--entrypoint", "sh", "-w", "/w", "-u", "5:6", "--group-add", "7"],
      ...["--pull", "always", "--stop-timeout", "3", "x", "-c", "ls"],
    );
    const { command, args, stdin, stdinOnce, tty, workingDir, linux } = config(pod);
    assert.deepEqual(
      { command, args, stdin, stdinOnce, tty, workingDir },
      {
        ...{ command: ["sh"], args: ["-c", "ls"], stdin: true, stdinOnce: true, tty: false },
        workingDir: "/w",
      },
    );
    assert.equal(linux?.securityContext?.runAsUser?.value, 5n);
    assert.equal(linux.securityContext.runAsGroup?.value, 6n);
    assert.deepEqual(linux.securityContext.supplementalGroups, [7n]);
    assert.equal(pod.containers[0]?.imagePullPolicy, "Always");
    assert.equal(pod.terminationGracePeriodSeconds, 3);
    const terminal = config(manifest("-it", "x").pod);
    assert.deepEqual([terminal.tty, terminal.stdin, terminal.stdinOnce], [true, true, false]);
    for (const bad of [":6", "a:", "a:b:c", "a b"]) {
      assert.match(errorOf("-u", bad, "x"), /must be USER\[:GROUP\], each a number or a name/, bad);
    }
  });

  test("keeps names of users and limits out of the manifest, which has no fields for them", () => {
    const beyond = (...words: string[]) => beyondManifest(parse(...words, "x").options);
    assert.deepEqual(beyond("-u", "5:6"), {});
    for (const user of ["nobody", "www-data:www-data", "5:www", "nobody:6"]) {
      assert.deepEqual(beyond("-u", user), { username: user });
      const { securityContext } = config(manifest("-u", user, "x").pod).linux ?? {};
      assert.equal(securityContext?.runAsGroup, undefined, user);
    }
    const limits = ["nofile=1024", "core=0:-1", "nofile=10:20", "memlock=unlimited"];
    assert.deepEqual(beyond(...limits.flatMap((limit) => ["--ulimit", limit])).ulimits, [
      { name: "nofile", soft: 10n, hard: 20n },
      { name: "core", soft: 0n, hard: -1n },
      { name: "memlock", soft: -1n, hard: -1n },
    ]);
    for (const [limit, expected] of [
      ["nofile", /must be NAME=SOFT\[:HARD\]/],
      ["nofile=x", /must be NAME=SOFT/],
      ["nofile=20:10", /soft limit is above the hard one/],
      ["nofile=-1:10", /soft limit is above the hard one/],
      ["nproc=5", /the CRI has only nofile, .*--pids-limit limits processes/],
    ] as const) {
      assert.throws(() => beyond("--ulimit", limit), { message: expected }, limit);
    }
  });

  test("adds names to the hosts file", () => {
    const names = ["db:10.0.0.5", "Six=::1", "more:[fe80::2]", "gw:host-gateway"];
    const { options } = parse(...names.flatMap((name) => ["--add-host", name]), "x");
    assert.deepEqual(
      readHosts(options, () => "192.0.2.1"),
      [
        { ip: "10.0.0.5", hostnames: ["db"] },
        { ip: "::1", hostnames: ["six"] },
        { ip: "fe80::2", hostnames: ["more"] },
        { ip: "192.0.2.1", hostnames: ["gw"] },
      ],
    );
    assert.throws(() => readHosts(options, () => undefined), { message: /no address besides/ });
    const { pod } = manifest("--add-host", "db:10.0.0.5", "x");
    assert.deepEqual(pod.hostAliases, [{ ip: "10.0.0.5", hostnames: ["db"] }]);
    for (const bad of ["db", ":10.0.0.5", "db:", "db:10.0.0", "db:host"]) {
      assert.match(errorOf("--add-host", bad, "x"), /must be HOST:IP|is not an IP address/, bad);
    }
    const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    const outer = own.filter(({ internal }) => !internal).map(({ address }) => address);
    const address = hostAddress();
    assert.ok(address === undefined || outer.includes(address), address);
  });

  test("leaves the removal to the server with -d --rm", () => {
    const { annotations } = manifest("-d", "--rm", "a/nginx:1").pod.sandbox;
    assert.deepEqual(annotations, { "davit.remove-after": "nginx" });
    assert.deepEqual(manifest("--rm", "nginx").pod.sandbox.annotations, {});
  });

  test("publishes ports", () => {
    const { pod } = manifest("-p", "8080:80", "-p", "127.0.0.1:53:54/udp", "-p", "[::1]:1:2", "x");
    const ports = pod.sandbox.portMappings.map(({ hostIp, hostPort, containerPort, protocol }) => {
      return [hostIp, hostPort, containerPort, protocol];
    });
    assert.deepEqual(ports, [
      ["", 8080, 80, 0],
      ["127.0.0.1", 53, 54, 1],
      ["::1", 1, 2, 0],
    ]);
    for (const bad of ["80", "a:80", "0:80", "80:65536", "1:2:3", "300.1.1.1:1:2", "8000-8010:1"]) {
      assert.match(errorOf("-p", bad, "x"), /option "--publish" is /, bad);
    }
  });

  test("mounts host paths and empty directories", () => {
    const { value, pod } = manifest(
      ...["-v", "/srv:/a:ro,rslave", "-v", "/etc/hosts:/etc/hosts", "-v", "./new:/b", "-v", "/c"],
      ...["--tmpfs", "/d:size=64m,noexec", "--shm-size", "1g", "x"],
    );
    const { spec } = value as { spec: { volumes: Record<string, unknown>[] } };
    assert.deepEqual(
      spec.volumes.map(({ name: _name, ...source }) => source),
      [
        { hostPath: { path: "/srv" } },
        { hostPath: { path: "/etc/hosts" } },
        { hostPath: { path: join(process.cwd(), "new"), type: "DirectoryOrCreate" } },
        { emptyDir: {} },
        { emptyDir: { medium: "Memory", sizeLimit: "64Mi" } },
        { emptyDir: { medium: "Memory", sizeLimit: "1Gi" } },
      ],
    );
    const mounts = pod.containers[0]?.volumeMounts ?? [];
    assert.deepEqual(
      mounts.map(({ mountPath, readOnly }) => [mountPath, readOnly]),
      [
        ["/a", true],
        ["/etc/hosts", false],
        ["/b", false],
        ["/c", false],
        ["/d", false],
        ["/dev/shm", false],
      ],
    );
    assert.deepEqual(mounts[4]?.bindMountOptions, ["noexec"]);
    assert.match(errorOf("-v", "data:/x", "x"), /no named volumes; .*-v \/srv\/data:\/x.*-v \/x/);
    assert.match(errorOf("-v", "/a:b", "x"), /must be absolute/);
    assert.match(errorOf("-v", "/a:/b:z", "x"), /option "z" is not supported/);
    assert.match(errorOf("-v", "/a:/b:ro:rw", "x"), /must be HOST:PATH/);
    assert.match(errorOf("--tmpfs", "/a:mode=1777", "x"), /"mode=1777" is not supported/);
  });

  test("limits memory and CPUs", () => {
    const { limits } = manifest("-m", "64m", "--cpus", "1.5", "x").pod.containers[0] ?? {};
    assert.equal(limits?.memoryBytes, 64 * 2 ** 20);
    assert.equal(limits.cpu, 1.5);
    for (const [size, bytes] of [
      ["1g", 2 ** 30],
      ["512Mi", 2 ** 29],
      ["100", 100],
      ["2KB", 2048],
    ] as const) {
      const { limits } = manifest("-m", size, "x").pod.containers[0] ?? {};
      assert.equal(limits?.memoryBytes, bytes, size);
    }
    const { annotations } = manifest("--pids-limit", "50", "x").pod.sandbox;
    assert.deepEqual(annotations, { "davit.pids-limit": "50" });
    assert.match(errorOf("-m", "much", "x"), /must be a size/);
    assert.match(errorOf("--cpus", "0", "x"), /must be a number of CPUs/);
  });

  test("sets networks, names and namespaces", () => {
    const options = (...words: string[]) => {
      const { pod } = manifest(...words, "x");
      return pod.sandbox.linux?.securityContext?.namespaceOptions;
    };
    assert.equal(options("--network", "host")?.network, NamespaceMode.NODE);
    assert.equal(options("--net", "bridge")?.network, NamespaceMode.POD);
    assert.equal(options("--pid", "host")?.pid, NamespaceMode.NODE);
    assert.equal(options("--ipc", "host")?.ipc, NamespaceMode.NODE);
    assert.equal(options("--init")?.pid, NamespaceMode.POD);
    const { pod } = manifest(
      ...["--network", "none", "--name", "a", "-n", "b", "--hostname", "h", "--runtime", "kata"],
      ...["-l", "k=v", "-l", "e", "--annotation", "x=y", "--userns", "auto", "x"],
    );
    assert.deepEqual(pod.sandbox.annotations, { x: "y", "davit.network": "none" });
    assert.deepEqual([pod.name, pod.namespace, pod.sandbox.hostname], ["a", "b", "h"]);
    assert.deepEqual([pod.runtimeHandler, pod.userNamespace], ["kata", true]);
    assert.deepEqual([pod.sandbox.labels["k"], pod.sandbox.labels["e"]], ["v", ""]);
    const dns = manifest("--dns", "9.9.9.9", "--dns-search", "a.b", "--dns-option", "ndots:2", "x");
    const { servers, searches, options: list } = dns.pod.sandbox.dnsConfig ?? {};
    assert.deepEqual(
      { servers, searches, list },
      {
        ...{ servers: ["9.9.9.9"], searches: ["a.b"], list: ["ndots:2"] },
      },
    );
  });

  test("sets the security context", () => {
    const { pod } = manifest(
      ...["--read-only", "--cap-add", "cap_net_admin", "--cap-drop", "all", "--sysctl", "a.b=1"],
      ...["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined", "x"],
    );
    const security = config(pod).linux?.securityContext;
    assert.equal(security?.readonlyRootfs, true);
    assert.equal(security.noNewPrivs, true);
    assert.deepEqual(security.capabilities, {
      addCapabilities: ["NET_ADMIN"],
      dropCapabilities: ["ALL"],
    });
    assert.equal(security.seccomp?.profileType, 1);
    assert.deepEqual(pod.sandbox.linux?.sysctls, { "a.b": "1" });
    const privileged = config(manifest("--privileged", "x").pod).linux?.securityContext;
    assert.equal(privileged?.privileged, true);
    assert.match(errorOf("--security-opt", "label=disable", "x"), /fields of a manifest/);
  });
});

test("codeOf() returns the exit codes of docker run", () => {
  const failed = (message: string): Error => new RuntimeError("unknown", message);
  for (const [message, code] of [
    ['start container "a": executable file `x` not found in $PATH: No such file or directory', 127],
    ['start container "a": exec: "x": executable file not found in $PATH', 127],
    ['start container "a": exec: "/x y": no such file or directory', 127],
    ['start container "a": exec: "/x": stat /x: no such file or directory', 127],
    ['start container "a": exec: "/x": permission denied', 126],
    ['start container "a": open executable: Permission denied', 126],
    ['start container "a": exec format error', 126],
    ['start container "a": the path `/etc` is not a regular file: Operation not permitted', 126],
    [
      'start container "a": the path `/a` exists but it is not executable: Operation not permitted',
      126,
    ],
    ['start container "a": no space left on device', 125],
    ['create container "a": permission denied', 125],
    ['pull image "a": RegistryUnavailable', 125],
  ] as const) {
    assert.equal(codeOf(failed(message)), code, message);
  }
});
