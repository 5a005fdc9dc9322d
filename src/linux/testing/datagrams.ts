import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

// Node.js has no unix datagram sockets; perl-base is on every Debian. Prints a line of hex for each datagram.
const script = `use Socket; $| = 1;
my ($path, $reads) = @ARGV; $path =~ s/^\\@/\\0/;
socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
bind($s, pack_sockaddr_un($path)) or die "bind: $!";
print "bound\\n";
sleep 3600 unless $reads;
while (defined recv($s, my $text, 65536, 0)) { print unpack("H*", $text), "\\n"; }`;

/** A real unix datagram socket, like that of a service manager, until it is disposed of. */
export class DatagramListener implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }

  /** Resolves when it is bound. With `reads` false, messages stay in the socket's queue. */
  static async start(socket: string, { reads = true } = {}): Promise<DatagramListener> {
    const args = ["-e", script, socket, reads ? "1" : "0"];
    const child = spawn("perl", args, { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const listener = new DatagramListener(child, lines);
    const first = await lines.next();
    if (first.value !== "bound") throw new Error(`listen on "${socket}": perl could not`);
    return listener;
  }

  /** Waits for the next datagram and returns its text. */
  async next(): Promise<string> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("read a datagram: the listener has ended");
    return Buffer.from(line.value, "hex").toString();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}
