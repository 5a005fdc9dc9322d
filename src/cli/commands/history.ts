import type { JsonValue } from "@bufbuild/protobuf";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { formatValue, member, readInfo } from "../output/cri-message.ts";
import { formatAge, shortId } from "../output/figures.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { type Column, formatTable } from "../output/table.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

// The instruction of a step may be a whole script.
const shownLength = 60;

/** `davit history`. */
export const history: Command = {
  name: "history",
  section: "Images",
  summary: "Show how an image was built",
  details:
    "Shows the steps of the build that its config records, the last one first. LAYER is empty for a step that changed\n" +
    "no file. Images without a record show their layers only.",
  operands: [{ name: "IMAGE", complete: "image" }],
  options: { ...outputOption, "no-trunc": { doc: "Show whole instructions and layers" } },
  examples: [{ line: "davit history busybox", does: "Show the steps of a build" }],
  client: true,
  run: (call) => withServer(call, (server) => show(call, server)),
};

/** A step of the build of an image. All texts are those of whoever built it. */
interface Step {
  readonly created: string;
  readonly by: string;
  /** The diff id; "" if the step has no layer. */
  readonly layer: string;
  readonly comment: string;
}

async function show(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const found = await pick(word, ["image"], new Objects(server));
  if (found.kind !== "image") throw new TypeError("pick() returned another kind");
  const what = `read the history of image "${word}"`;
  const request = { image: { image: found.image.id }, verbose: true };
  const { info } = await doing(what, server.client.image.imageStatus(request, server.limit()));
  const { info: own, imageSpec } = readInfo(info);
  const config = member(own, "imageSpec") ?? imageSpec;
  if (config === undefined) {
    throw new CommandFailure(
      exitCode.unsupported,
      `${what}: the server does not report the config of images`,
    );
  }
  const format = outputFormat(call);
  const steps = stepsOf(config);
  if (format === "json" || format === "yaml") {
    call.terminal.out(
      formatValue(
        steps.map((step) => ({ ...step })),
        format,
      ),
    );
    return exitCode.done;
  }
  const { style } = call.terminal;
  const whole = call.options.has("no-trunc") || format === "wide";
  const columns = columnsOf(whole, Date.now());
  call.terminal.out(formatTable(steps, columns, { style, width: call.terminal.width() }));
  return exitCode.done;
}

/** The steps of an OCI image config, the last one first. */
export function stepsOf(config: JsonValue): readonly Step[] {
  const history = member(config, "history");
  const diffIds = member(member(config, "rootfs"), "diff_ids");
  const layers = Array.isArray(diffIds) ? diffIds.map(textOf) : [];
  if (!Array.isArray(history) || history.length === 0) {
    return layers.map((layer) => ({ created: "", by: "", layer, comment: "" })).toReversed();
  }
  let next = 0;
  const steps = history.map((entry): Step => {
    const isEmpty = member(entry, "empty_layer") === true;
    const layer = isEmpty ? "" : (layers[next] ?? "");
    if (!isEmpty) next += 1;
    const [created, by, comment] = ["created", "created_by", "comment"].map((key) =>
      textOf(member(entry, key)),
    );
    return { created: created ?? "", by: by ?? "", layer, comment: comment ?? "" };
  });
  return steps.toReversed();
}

function columnsOf(whole: boolean, nowMs: number): readonly Column<Step>[] {
  const cut = (text: string): string =>
    whole || text.length <= shownLength ? text : `${text.slice(0, shownLength - 3)}...`;
  return [
    { title: "LAYER", of: ({ layer }) => (whole ? layer : shortId(layer)) },
    { title: "CREATED", of: ({ created }) => ageOf(created, nowMs) },
    { title: "CREATED BY", of: ({ by }) => cut(by.replace(/\s+/g, " ").trim()) },
    { title: "COMMENT", of: ({ comment }) => cut(comment) },
  ];
}

function ageOf(created: string, nowMs: number): string {
  const ms = Date.parse(created);
  return Number.isNaN(ms) ? "" : formatAge(BigInt(ms) * 1_000_000n, nowMs);
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : "";
}
