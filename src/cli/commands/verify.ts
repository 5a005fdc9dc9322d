import type { Command } from "../command-line/command.ts";
import { readCredentials } from "../lifecycle/read-credentials.ts";
import { verifyImages } from "../lifecycle/verify-images.ts";
import { withServer } from "../server/session.ts";

/** `davit verify`. */
export const verify: Command = {
  name: "verify",
  section: "Images",
  summary: "Explain whether the policies of this node allow images",
  details:
    "Shows which policy decides ([images.verification] of davit.toml), which signatures were found,\n" +
    "by which key or identity they are, and the verdict. An image on this node is verified as for the\n" +
    "start of a container, another one as for a pull. Exits with an error for an image that is\n" +
    "rejected. Changes nothing. Works only with davit.",
  operands: [{ name: "IMAGE", many: true }],
  options: {
    namespace: {
      short: "n",
      value: "NAMESPACE",
      doc: "The Kubernetes namespace of the pod, for policies of namespaces",
    },
    output: {
      short: "o",
      value: "FORMAT",
      doc: "Output format",
      complete: ["json", "yaml"],
    },
    creds: {
      value: "USER:PASSWORD",
      doc: "Credentials for the registry; - reads them from stdin, which hides them from ps",
    },
  },
  examples: [
    {
      line: "davit verify registry.example.com/team/app:v1",
      does: "Show the verdict and its reasons",
    },
  ],
  client: true,
  run: (call) => withServer(call, (server) => verifyImages(call, server, readCredentials(call))),
};
