/** The reason in a message of a davit server, without its operation, id and stage. */
export function reasonOf(message: string): string {
  return message.replace(operationPrefix, "");
}

/** The prefix of an error about an id, and of the step that passes on the error of crun or runc. */
const operationPrefix =
  /^(?:[a-z]+ ){1,4}"[0-9a-f]{64}"(?: \(stage [a-z-]+, \d+ ms\))?: (?:OCI runtime exec: )?/;
