import { RuntimeError } from "../../base/errors.ts";
import { Semaphore } from "../../base/semaphore.ts";
import { errnoName, SystemError } from "../../base/system-error.ts";
import {
  control,
  encodeRequest,
  flag,
  type Message,
  parseAttributes,
  parseMessages,
  readText,
  type Request,
} from "./message.ts";
import { exchangeMessages, type NetworkSysctl } from "./native.ts";

/** Path of a network namespace; undefined for that of this process. */
export type NamespacePath = string | undefined;

/** NLMSGERR_ATTR_MSG: the kernel's reason in words. */
const attributeReason = 1;

// The kernel makes one change at a time (RTNL lock). More jobs would only take the threads of others.
const turns = new Semaphore(4);

/**
 * Writes sysctls and then sends requests to the kernel's routing tables in a namespace, in one job: about 0.1 ms
 * besides what the kernel does. Returns the answers to each request. The first request that the kernel refuses ends it
 * with a SystemError that says what the request does; those before it stay in force.
 */
export async function exchange(
  namespace: NamespacePath,
  requests: readonly Request[],
  sysctls: readonly NetworkSysctl[] = [],
): Promise<readonly (readonly Message[])[]> {
  using _turn = await turns.acquire();
  return await exchangeAtOnce(namespace, requests, sysctls);
}

/** Like {@link exchange}, without waiting for others: for a caller that limits how many there are. */
export async function exchangeAtOnce(
  namespace: NamespacePath,
  requests: readonly Request[],
  sysctls: readonly NetworkSysctl[] = [],
): Promise<readonly (readonly Message[])[]> {
  const bytes = Buffer.concat(requests.map((request, at) => encodeRequest(request, at + 1)));
  const reply = parseMessages(await exchangeMessages(namespace, sysctls, bytes));
  return requests.map((request, at) => answersTo(request, reply, at + 1));
}

/** The answers to a request in what the kernel sent. Throws a SystemError when it was refused. */
export function answersTo(
  request: Pick<Request, "doing">,
  reply: readonly Message[],
  sequence: number,
): Message[] {
  const answers: Message[] = [];
  let ended = false;
  for (const message of reply) {
    if (message.sequence !== sequence) continue;
    if ((message.flags & flag.dumpInterrupted) !== 0) {
      throw new RuntimeError("unavailable", `${request.doing}: it changed meanwhile; try again`);
    }
    if (message.type !== control.error && message.type !== control.done) answers.push(message);
    else {
      checkEnd(request, message);
      ended = true;
    }
  }
  if (!ended) throw new RuntimeError("internal", `${request.doing}: the kernel did not answer`);
  return answers;
}

/** Throws for an end with an error. A dump ends with DONE and may have no error number. */
function checkEnd({ doing }: Pick<Request, "doing">, { type, body }: Message): void {
  const error = body.length < 4 ? 0 : body.readInt32LE(0);
  if (error >= 0) return;
  // Without the request (NETLINK_CAP_ACK): error number, its header, attributes.
  const attributes = type === control.error ? parseAttributes(body, 20) : undefined;
  const reason = readText(attributes?.get(attributeReason));
  throw new SystemError(reason === undefined ? doing : `${doing}: ${reason}`, errnoName(-error));
}
