import { messageOf } from "../../base/errors.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { explainPulls } from "../lifecycle/explain-pulls.ts";
import { readCredentials } from "../lifecycle/read-credentials.ts";
import { PullProgress } from "../lifecycle/pull-progress.ts";
import { imageNames } from "../objects/find.ts";
import { formatBytes, formatDuration, shortId } from "../output/figures.ts";
import { LiveLines } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import { showPull } from "../output/pull-lines.ts";
import { printable, printableLines } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

const oneTag = "davit pulls one tag at a time; name the tags you need";

/** `davit pull`. */
export const pull: Command = {
  name: "pull",
  section: "Images",
  summary: "Pull images from their registries",
  details:
    "In a terminal, shows the progress of each layer, if the server is davit; the CRI does not report\n" +
    "progress. Short names refer to docker.io, unless registries.conf of the node has an alias. --explain works only with davit.",
  operands: [{ name: "IMAGE", many: true }],
  options: {
    explain: {
      doc: "Print what a pull would do, and pull nothing: hosts, credentials, platform, layers",
    },
    output: {
      short: "o",
      value: "FORMAT",
      doc: "Output format of --explain",
      complete: ["json", "yaml"],
    },
    quiet: { short: "q", doc: "Print only image ids" },
    creds: {
      value: "USER:PASSWORD",
      doc: "Credentials for the registry; - reads them from stdin, which hides them from ps",
    },
  },
  refusals: {
    a: oneTag,
    "all-tags": oneTag,
    platform:
      'davit pulls the platform of the node; use "skopeo copy --override-arch" and "davit load" for another one',
  },
  examples: [
    {
      line: "davit pull --explain registry.example.com/app",
      does: "Show which hosts a pull would ask, and which layers are here",
    },
    { line: "davit pull busybox:1.37", does: "Pull docker.io/library/busybox:1.37" },
    {
      line: "davit pull --creds - registry.example.com/app <creds.txt",
      does: "Pull a private image",
    },
  ],
  client: true,
  run: (call) =>
    withServer(call, (server) =>
      call.options.has("explain")
        ? explainPulls(call, server, readCredentials(call))
        : pullAll(call, server),
    ),
};

async function pullAll(call: Call, server: Server): Promise<number> {
  const { terminal } = call;
  const auth = readCredentials(call);
  const quiet = call.options.has("quiet");
  using lines = new LiveLines(progressOutput(terminal, quiet));
  using watch = lines.live ? new PullProgress(server) : undefined;
  let code: number = exitCode.done;
  const names = [...new Set(call.operands)];
  const texts = await Promise.all(
    names.map(async (name) => {
      const startedMs = performance.now();
      using _shown = showPull(lines, terminal.errStyle, name, () => watch?.layersOf(name));
      try {
        const image = { image: name };
        const request = auth === undefined ? { image } : { image, auth };
        const answer = server.client.image.pullImage(request, server.unlimited());
        const { imageRef } = await doing(`pull image "${name}"`, answer);
        if (quiet) return `${printable(imageRef)}\n`;
        return `${await describe(name, imageRef, server)}, ${formatDuration(performance.now() - startedMs)}\n`;
      } catch (error) {
        if (names.length === 1 || server.signal.aborted) throw error;
        lines.print(`${terminal.errStyle.red("davit:")} ${printableLines(messageOf(error))}`);
        if (code === exitCode.done) code = exitCodeOf(error);
        return "";
      }
    }),
  );
  lines[Symbol.dispose]();
  terminal.out(texts.join(""));
  return code;
}

/** The name, the id and the size of the image. */
async function describe(name: string, imageRef: string, server: Server): Promise<string> {
  const request = { image: { image: imageRef } };
  const { image } = await server.client.image
    .imageStatus(request, server.limit())
    .catch(() => ({ image: undefined }));
  const names = imageNames(name);
  const full = image?.repoTags.find((tag) => names.includes(tag)) ?? image?.repoTags[0] ?? name;
  const size = image === undefined ? "" : `, ${formatBytes(image.size)}`;
  return printable(`${full}: ${shortId(image?.id ?? imageRef)}${size}`);
}
