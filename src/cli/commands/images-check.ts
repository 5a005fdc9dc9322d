import { ImageChecked_Result as Result } from "../../gen/davit/v1/images_pb.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { formatValue } from "../output/cri-message.ts";
import { shortId } from "../output/figures.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit images check`. */
export const imagesCheck: Command = {
  name: "images check",
  section: "Images",
  summary: "Check that images are whole on the disk",
  details:
    "Compares the layers of images with the disk: whether they exist, and have as many files as when they\n" +
    "were unpacked. --deep reads all files, and compares them with those of the deep check before; the\n" +
    "first one of a layer only records them. --repair pulls broken layers again, without credentials. If\n" +
    "that fails, the image is removed, unless a container uses it. The exit code is 1 if an image was or\n" +
    "is broken, and was not repaired. Only with davit.",
  operands: [{ name: "IMAGE", many: true, optional: true, complete: "image" }],
  options: {
    deep: { doc: "Read all files" },
    repair: { doc: "Pull broken layers again; an image that cannot be pulled is removed" },
    ...outputOption,
  },
  examples: [
    { line: "davit images check", does: "Check all images" },
    { line: "davit images check --deep --repair app:1", does: "Read one image, and repair it" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

interface Checked {
  readonly id: string;
  readonly names: readonly string[];
  readonly result: string;
  readonly message: string;
  readonly problems: readonly { readonly layer: string; readonly problem: string }[];
}

const resultWords: Readonly<Record<number, string>> = {
  [Result.WHOLE]: "whole",
  [Result.BROKEN]: "broken",
  [Result.REPAIRED]: "repaired",
  [Result.REMOVED]: "removed",
};

async function run(call: Call, server: Server): Promise<number> {
  const { options, terminal } = call;
  const format = outputFormat(call);
  const isTable = format === "table" || format === "wide";
  const checked: Checked[] = [];
  const checkAll = async (): Promise<void> => {
    const request = {
      images: [...new Set(call.operands)],
      deep: options.has("deep"),
      repair: options.has("repair"),
    };
    let problems: { layer: string; problem: string }[] = [];
    for await (const { event } of server.client.davit.check(request, server.unlimited())) {
      if (event.case === "problem") {
        problems.push({ layer: event.value.layer, problem: event.value.problem });
      } else if (event.case === "checked") {
        const { id, names, result, message } = event.value;
        const image = { id, names, result: resultWords[result] ?? "unknown", message, problems };
        problems = [];
        checked.push(image);
        if (isTable) terminal.out(linesOf(image));
      }
    }
  };
  await doing("check images", davitOnly(checkAll()));
  if (!isTable) terminal.out(formatValue(checked.map((image) => ({ ...image })) as never, format));
  const isFine = checked.every(({ result }) => result === "whole" || result === "repaired");
  return isFine ? exitCode.done : exitCode.failed;
}

function linesOf({ id, names, result, message, problems }: Checked): string {
  const name = printable(names.length === 0 ? shortId(id) : names.join(", "));
  const lines = [`${name}: ${result}${message === "" ? "" : ` (${printable(message)})`}`];
  for (const { layer, problem } of problems) {
    lines.push(`  layer ${printable(shortId(layer))}: ${printable(problem)}`);
  }
  return `${lines.join("\n")}\n`;
}
