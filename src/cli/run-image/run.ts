import process from "node:process";
import type { JsonValue } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, codeOfProgram, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { podsRootOf, thisNode } from "../lifecycle/read-manifests.ts";
import type { RunningPod } from "../lifecycle/run-pod.ts";
import { runPods } from "../lifecycle/run-pods.ts";
import { removePodDirectory } from "../lifecycle/volumes.ts";
import { ManifestError, parsePodManifests, type PodManifest } from "../../manifest/index.ts";
import { Objects } from "../objects/objects.ts";
import { formatValue } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { type ForegroundEnd, followContainer } from "./foreground.ts";
import { beyondManifest, type ImageRequest, imageManifest, isRemovedByServer } from "./manifest.ts";
import { baseName, freeName } from "./name.ts";
import { readRequest } from "./request.ts";
import { pathKind } from "./target.ts";

const removeMs = 60_000;

/** `davit run IMAGE`: runs a pod of one container. Resolves with the exit code. */
export async function runImage(call: Call, command: Command): Promise<number> {
  const { options, terminal } = call;
  const request = readRequest(call, command);
  const name = options.text("name") ?? baseName(request.image);
  // All options are checked before the server is asked for anything.
  podOf(call, request, name);
  if (options.has("dry-run")) {
    refuseBeyondManifest(request);
    terminal.out(formatValue(manifestOf(request, name), outputOf(call)));
    return exitCode.done;
  }
  try {
    return await withServer(call, (server) => run(call, server, request));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new CommandFailure(codeOf(error), withTried(request.image, messageOf(error)), {
      cause: error,
    });
  }
}

/** Refuses options that another server would ignore. */
async function checkServer(
  { client, limit }: Server,
  { image, options }: ImageRequest,
): Promise<void> {
  const what = `run image "${image}"`;
  const refuse = (option: string, why: string): never => {
    throw new CommandFailure(exitCode.unsupported, `${what}: leave out ${option}: ${why}`);
  };
  if (options.has("ulimit")) {
    const { features } = await doing(what, client.runtime.status({}, limit()));
    if (features?.containerUlimits !== true) refuse("--ulimit", "the server has no such limits");
  }
  if (isRemovedByServer(options)) {
    const { runtimeName } = await doing(what, client.runtime.version({}, limit()));
    if (runtimeName !== "davit") {
      refuse("--rm with --detach", `${runtimeName} does not remove pods; use "davit down" later`);
    }
  }
}

/** A manifest without the user would run as root. */
function refuseBeyondManifest({ image, options }: ImageRequest): void {
  const { username, ulimits } = beyondManifest(options);
  if (username !== undefined) {
    throw options.invalid(
      "user",
      `is "${username}": a Pod has only numbers; "davit run --rm -u ${username} ${image} id" prints them`,
    );
  }
  if (ulimits !== undefined) {
    throw options.invalid("ulimit", "has no field in a Pod: leave it out, or leave out --dry-run");
  }
}

/** The format of --dry-run: YAML unless JSON is asked for. */
export function outputOf({ options }: Call): "json" | "yaml" {
  return options.text("output") === "json" ? "json" : "yaml";
}

async function run(call: Call, server: Server, request: ImageRequest): Promise<number> {
  const { options, terminal } = call;
  const namespace = options.text("namespace") ?? "default";
  const taken = new Set(
    (await new Objects(server).pods())
      .filter(({ metadata }) => metadata?.namespace === namespace)
      .map(({ metadata }) => metadata?.name),
  );
  await checkServer(server, request);
  const name = options.text("name") ?? freeName(request.image, (each) => taken.has(each));
  const pod = podOf(call, request, name);
  const foreground = !options.has("detach");
  const path = `${pod.namespace}/${pod.name}`;
  const { running, hasFailed } = await runPods(call, server, [pod], {
    downWords: [path],
    foreground,
  });
  const [made] = running;
  if (made === undefined) throw new TypeError("runPods() has returned no pod");
  if (!foreground) {
    terminal.out(`${made.id}\n`);
    return hasFailed ? exitCode.failed : exitCode.done;
  }
  if (server.signal.aborted) {
    await remove(server, made);
    throw new CommandFailure(
      exitCode.interrupted,
      "interrupted; everything that was created is removed",
    );
  }
  const end = await follow(call, server, made, request);
  if (end.kind !== "detached" && options.has("rm")) await remove(server, made);
  else if (end.kind !== "lost") tellWhatStays(call, path, end);
  return end.kind === "detached" ? exitCode.done : end.exitCode;
}

/** Follows the container. With --rm, the pod is removed also if that fails. */
async function follow(
  call: Call,
  server: Server,
  pod: RunningPod,
  request: ImageRequest,
): Promise<ForegroundEnd> {
  try {
    return await followContainer(call, server, pod, request);
  } catch (error) {
    if (call.options.has("rm")) await remove(server, pod).catch(() => undefined);
    throw error;
  }
}

/** Removes the pod: its container is killed if it still runs. */
async function remove({ client }: Server, { manifest, id }: RunningPod): Promise<void> {
  const call = client.runtime.removePodSandbox({ podSandboxId: id }, { timeoutMs: removeMs });
  await doing(`remove pod "${manifest.namespace}/${manifest.name}"`, call);
  await removePodDirectory(manifest.directory);
}

function tellWhatStays({ options, terminal }: Call, path: string, { kind }: ForegroundEnd): void {
  if (options.has("quiet")) return;
  const text =
    kind === "detached"
      ? `pod ${path} runs on: "davit attach -it ${path}" returns to it, "davit down ${path}" removes it`
      : `pod ${path} is kept: "davit down ${path}" removes it, and --rm does so at the end`;
  terminal.err(`${terminal.errStyle.dim(text)}\n`);
}

function manifestOf(request: ImageRequest, name: string): JsonValue {
  const context = { env: process.env, kindAt: pathKind };
  return imageManifest(request, name, context) as JsonValue;
}

/** The pod as if its manifest was read from a file. Throws with exit code `usage` for values that are invalid there. */
function podOf(call: Call, request: ImageRequest, name: string): PodManifest {
  const text = JSON.stringify(manifestOf(request, name));
  try {
    const [pod] = parsePodManifests(text, "", thisNode(podsRootOf(call)));
    if (pod === undefined) throw new TypeError("the manifest has no pod");
    const beyond = beyondManifest(request.options);
    return { ...pod, containers: pod.containers.map((each) => ({ ...each, ...beyond })) };
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const findings = error.message.replace(/^:\d+: /gm, "  ");
    throw new CommandFailure(
      exitCode.usage,
      `run image "${request.image}": the options make no valid pod, nothing was done:\n${findings}`,
    );
  }
}

/** The exit code of a failure: as of docker run, where it is not that of the container. */
export function codeOf(error: unknown): number {
  const code = exitCodeOf(error);
  if (code === exitCode.interrupted || code === exitCode.usage) return code;
  const message = messageOf(error);
  if (!message.startsWith("start container ")) return exitCode.execFailed;
  return codeOfProgram(message);
}

/** A pull that fails may have been meant for a file. */
function withTried(image: string, message: string): string {
  if (!message.startsWith("pull image ") || image.includes(":")) return message;
  return pathKind(image) === "directory"
    ? `${message}; "${image}" is a directory here: name the manifests in it`
    : `${message}; there is no file "${image}" either`;
}
