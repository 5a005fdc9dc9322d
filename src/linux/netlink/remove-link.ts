import { setTimeout as delay } from "node:timers/promises";

import { Semaphore } from "../../base/semaphore.ts";
import { exchangeAtOnce, type NamespacePath } from "./exchange.ts";
import { deleteLink, findLink, type Link } from "./links.ts";

// Each keeps a thread of the pool until the kernel is done.
const removals = new Semaphore(8);
const pollMs = 1;

/**
 * Deletes a link; a veth goes with its other end. Returns as soon as neither is in its namespace any more, in about 1 ms.
 * The kernel then frees them, for which it waits for all processors (netdev_run_todo(), net/core/dev.c: 15 ms and more);
 * nobody else has to.
 */
export async function removeLink(
  namespace: NamespacePath,
  link: Pick<Link, "index" | "name">,
): Promise<void> {
  const turn = await removals.acquire();
  const deleted = exchangeAtOnce(namespace, [deleteLink(link)])
    .then(() => true)
    .finally(() => turn[Symbol.dispose]());
  // A failure is thrown below, or came after the link was gone.
  deleted.catch(() => undefined);
  while (!(await Promise.race([deleted, isGone(namespace, link)]))) await delay(pollMs);
}

async function isGone(
  namespace: NamespacePath,
  { index, name }: Pick<Link, "index" | "name">,
): Promise<boolean> {
  const now = await findLink(namespace, name);
  return now?.index !== index;
}
