import { isKind, messageOf, wrap } from "../../base/errors.ts";
import { ContainerdClient, type ContainerdImage } from "../../client/containerd-client.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { formatBytes, formatDuration } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { printable } from "../output/printable.ts";
import { progressOutput } from "../output/progress-output.ts";
import type { Server } from "../server/session.ts";
import { bytesOf, ociArchive } from "./oci-archive.ts";
import { type Descriptor, readStoredImage, type WholeImage } from "./stored-image.ts";

/** The label that containerd's CRI gives to pinned images. */
const [pinnedLabel, pinnedValue] = ["io.cri-containerd.pinned", "pinned"];

/** An image of containerd with all of its names. */
interface Stored {
  readonly target: Descriptor;
  /** With a tag, or with a digest where the image has no tag. */
  readonly names: readonly string[];
  readonly pinned: boolean;
}

/** Where the images come from, and which. */
export interface Wanted {
  readonly address: string;
  readonly namespace: string;
  /** Names; all images if there are none. */
  readonly names: readonly string[];
  /** Pull what containerd has not kept. */
  readonly pull: boolean;
}

/**
 * Loads images of containerd into davit, from containerd's store, one after the other. Images that davit has already
 * are skipped. Prints a line for each; nothing changes in containerd.
 */
export async function migrateImages(call: Call, server: Server, wanted: Wanted): Promise<number> {
  using store = new ContainerdClient(wanted.address, wanted.namespace, server.signal);
  const stored = chosen(groupsOf(await listImages(store, wanted)), wanted);
  using lines = new LiveLines(progressOutput(call.terminal, false));
  let failed = 0;
  for (const image of stored) {
    const name = image.names[0] ?? image.target.digest;
    try {
      const result = await migrateOne({ server, store, image, lines, pull: wanted.pull });
      call.terminal.out(`${result.padEnd(12)} ${printable(image.names.join(", "))}\n`);
    } catch (error) {
      if (server.signal.aborted) throw error;
      failed += 1;
      call.terminal.err(
        `${call.terminal.errStyle.red("failed")}: ${printable(name)}: ${printable(messageOf(error))}\n`,
      );
    }
  }
  const pinned = stored.filter((image) => image.pinned).flatMap((image) => image.names);
  if (pinned.length > 0) {
    call.terminal.err(
      `pinned in containerd; put into davit.toml: [images] pinned = ${JSON.stringify(pinned)}\n`,
    );
  }
  return failed === 0 ? exitCode.done : exitCode.failed;
}

async function listImages(
  store: ContainerdClient,
  { address }: Wanted,
): Promise<readonly ContainerdImage[]> {
  try {
    return await store.images();
  } catch (cause) {
    if (isKind(cause, "unimplemented")) {
      const text = `list the images of containerd: "${address}" is not containerd's socket; name it with --address`;
      throw new CommandFailure(exitCode.unsupported, text, { cause });
    }
    const code = isKind(cause, "unavailable") ? exitCode.unreachable : exitCode.failed;
    const text = `list the images of containerd: ${messageOf(cause)}; containerd must run, or name its socket with --address`;
    throw new CommandFailure(code, text, { cause });
  }
}

/** containerd has an entry for each name: with a tag, with a digest, and the id of the config. */
function groupsOf(images: readonly ContainerdImage[]): readonly Stored[] {
  const groups = new Map<string, { names: string[]; pinned: boolean; target: Descriptor }>();
  for (const { name, labels, target } of images) {
    if (target === undefined || /^sha\d+:/.test(name)) continue;
    const { mediaType, digest, size } = target;
    const own = { mediaType, digest, size: Number(size) };
    const group = groups.get(digest) ?? { names: [], pinned: false, target: own };
    group.names.push(name);
    group.pinned ||= labels[pinnedLabel] === pinnedValue;
    groups.set(digest, group);
  }
  return [...groups.values()].map((group) => {
    const tagged = group.names.filter((name) => !name.includes("@"));
    return { ...group, names: tagged.length > 0 ? tagged : group.names };
  });
}

function chosen(stored: readonly Stored[], { names, namespace }: Wanted): readonly Stored[] {
  if (names.length === 0) return stored;
  return names.map((name) => {
    const found = stored.find((image) =>
      fullNamesOf(name).some((each) => image.names.includes(each)),
    );
    if (found !== undefined) return found;
    const text = `find image "${name}" in containerd: the namespace "${namespace}" has no such image; ctr -n ${namespace} images ls lists them`;
    throw new CommandFailure(exitCode.notFound, text);
  });
}

function fullNamesOf(name: string): readonly string[] {
  const tagged = /[:@][^/]*$/.test(name) ? name : `${name}:latest`;
  return [name, tagged, `docker.io/${tagged}`, `docker.io/library/${tagged}`];
}

interface One {
  readonly server: Server;
  readonly store: ContainerdClient;
  readonly image: Stored;
  readonly lines: LiveLines;
  readonly pull: boolean;
}

async function migrateOne(one: One): Promise<string> {
  const { server, store, image } = one;
  const whole = await readStoredImage(store, image.target);
  if ("problem" in whole) return await pullInstead(one, whole.problem);
  const names = loadedNames(image);
  if (await isPresent(server, names, whole)) return "present";
  const bytes = await load(one, whole, names);
  return formatBytes(bytes);
}

async function pullInstead({ server, image, pull }: One, problem: string): Promise<string> {
  const [name = ""] = image.names;
  if (!pull) throw new CommandFailure(exitCode.failed, `${problem}; run: davit pull ${name}`);
  try {
    for (const each of image.names) {
      await server.client.image.pullImage({ image: { image: each } }, server.unlimited());
    }
  } catch (cause) {
    throw wrap(`${problem}, and the pull failed`, cause);
  }
  return "pulled";
}

/** An archive has no names without a tag, so an image that has only a digest gets a tag made of it. */
function loadedNames({ names, target }: Stored): readonly string[] {
  const tag = `sha256-${target.digest.slice("sha256:".length, "sha256:".length + 12)}`;
  return [...new Set(names.map((name) => name.replace(/(:[^/@]*)?@.*$/, `:${tag}`)))];
}

/** Whether davit has the same content under all of the names. */
async function isPresent(
  server: Server,
  names: readonly string[],
  { target }: WholeImage,
): Promise<boolean> {
  for (const name of names) {
    const { image } = await server.client.image.imageStatus(
      { image: { image: name } },
      server.limit(),
    );
    const digests = image?.repoDigests.map((each) => each.slice(each.indexOf("@") + 1)) ?? [];
    if (!digests.includes(target.digest)) return false;
  }
  return true;
}

async function load(one: One, whole: WholeImage, names: readonly string[]): Promise<number> {
  const { server, store, lines } = one;
  const total = bytesOf(whole);
  let sent = 0;
  async function* requests() {
    for await (const value of ociArchive(store, whole, names)) {
      yield { part: { case: "chunk" as const, value } };
      sent += value.length;
    }
    yield { part: { case: "end" as const, value: {} } };
  }
  const startedMs = performance.now();
  using _shown = lines.add((now) => {
    const doing = sent >= total ? "unpacking" : `${formatBytes(sent)} / ${formatBytes(total)}`;
    const time = formatDuration(now - startedMs);
    return [`${spinnerAt(now)} ${printable(names[0] ?? "")}  ${doing}  ${time}`];
  });
  const responses = server.client.davit.load(requests(), server.unlimited());
  await davitOnly(
    (async () => {
      for await (const _ of responses);
    })(),
  );
  return total;
}
