import type { PodNames } from "../../manifest/index.ts";
import type { CallOptions, CriClient } from "../cri-client.ts";
import { type InflightOperation, readInflight } from "../operations.ts";
import { readInfo } from "../verbose-info.ts";

/** davit's name of a sandbox: its parts are joined with "_", and each "_" in a part is doubled. */
function sandboxSubject({ name, namespace, uid }: PodNames): string {
  return [name, namespace, uid, "0"].map((part) => part.replaceAll("_", "__")).join("_");
}

/** What the verbose Status of a server reports. */
async function statusInfo(
  { runtime }: Pick<CriClient, "runtime">,
  options: CallOptions,
): Promise<ReturnType<typeof readInfo>> {
  return readInfo((await runtime.status({ verbose: true }, options)).info);
}

/** Whether davit is making a pod, or keeps it for a retry. Other servers do not report this. */
export async function isInflight(
  client: Pick<CriClient, "runtime">,
  names: PodNames,
  options: CallOptions,
): Promise<boolean> {
  const { inflight, heldCreates } = await statusInfo(client, options);
  const subject = sandboxSubject(names);
  return (
    readInflight(inflight, Date.now()).some((each) => each.subject === subject) ||
    (Array.isArray(heldCreates) && heldCreates.includes(subject))
  );
}

/** The operation of the server on a pod that runs now. Other servers do not report it. */
export async function inflightOf(
  client: Pick<CriClient, "runtime">,
  names: PodNames,
  options: CallOptions,
): Promise<InflightOperation | undefined> {
  const { inflight } = await statusInfo(client, options);
  const subject = sandboxSubject(names);
  return readInflight(inflight, Date.now()).find((each) => each.subject === subject);
}
