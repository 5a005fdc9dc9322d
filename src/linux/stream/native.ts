import { addon, callNative, type NativeWatch } from "../addon.ts";

/** The directions in which a descriptor is ready, or should be watched. */
export interface Readiness {
  readonly readable: boolean;
  readonly writable: boolean;
}

interface Calls {
  watchDescriptor(fd: number, onEvent: (events: number) => void): NativeWatch;
  watchEvents(watch: NativeWatch, events: number): void;
  watchRelease(watch: NativeWatch): number;
  connectedSockets(): readonly [number, number];
  socketListen(path: string): number;
  socketConnectPackets(path: string): number;
  socketAccept(watch: NativeWatch): number;
  socketReceive(watch: NativeWatch): number;
  socketEnd(watch: NativeWatch): void;
  socketSend(watch: NativeWatch, bytes: Uint8Array, fd: number): void;
  socketRefuse(watch: NativeWatch): void;
  socketConnectLoopback(watch: NativeWatch, port: number): boolean;
  socketError(watch: NativeWatch): void;
  socketPeer(fd: number): readonly [pid: number, uid: number];
  socketInNamespace(net: string | null, ipv6: boolean): number;
  socketUnread(fd: number): number;
  moveBytes(socket: number, pipe: number, most: number): number;
  descriptorCopy(fd: number): number;
  descriptorRead(watch: NativeWatch, bytes: Uint8Array): number;
  descriptorWrite(watch: NativeWatch, bytes: Uint8Array): number;
  terminalResize(watch: NativeWatch, size: number): void;
}

const calls = (): Calls => addon() as Calls;

// uv_poll_event
const readableBit = 1;
const writableBit = 2;

// All calls here run on the main thread and never wait.

/**
 * Watches a descriptor and takes ownership of it, also when it throws. After an error it is ready in both directions.
 */
export function watchDescriptor(fd: number, onReady: (ready: Readiness) => void): NativeWatch {
  const onEvent = (events: number): void => {
    onReady({
      readable: (events & readableBit) !== 0,
      writable: (events & writableBit) !== 0,
    });
  };
  return callNative(() => calls().watchDescriptor(fd, onEvent), "watch descriptor");
}

/** What to watch a descriptor for; a new watch waits for nothing. */
export function watchFor(watch: NativeWatch, { readable, writable }: Readiness): void {
  calls().watchEvents(watch, (readable ? readableBit : 0) | (writable ? writableBit : 0));
}

/** Ends a descriptor's watch and returns the descriptor, under another number. Once only. */
export function releaseDescriptor(watch: NativeWatch): number {
  return callNative(() => calls().watchRelease(watch));
}

/**
 * Two connected unix stream sockets, close-on-exec: one for this process, and a blocking one for a child. EMFILE, ENFILE.
 */
export function connectedSockets(): readonly [near: number, far: number] {
  return callNative(() => calls().connectedSockets(), "connect a process");
}

/** A unix stream socket that listens. ENAMETOOLONG: more than 107 bytes. EADDRINUSE: a file is at the path. */
export function listenAt(path: string, doing: string): number {
  return callNative(() => calls().socketListen(path), doing);
}

/** Connects a SOCK_SEQPACKET socket. ENOENT, ECONNREFUSED: no process listens. EAGAIN: the listener's queue is full. */
export function connectPacketSocket(path: string, doing: string): number {
  return callNative(() => calls().socketConnectPackets(path), doing);
}

/** Accepts a connection; undefined when there is none. */
export function acceptConnection(watch: NativeWatch): number | undefined {
  return descriptorOf(callNative(() => calls().socketAccept(watch), "accept connection"));
}

/**
 * The descriptor in the next message, non-blocking; undefined when there is no message yet. ECONNRESET: the peer closed
 * the connection. EPROTO: the message has no descriptor, or more than one.
 */
export function receiveDescriptor(watch: NativeWatch, doing: string): number | undefined {
  return descriptorOf(callNative(() => calls().socketReceive(watch), doing));
}

/** Shuts down the sending direction (shutdown(2)). */
export function endSocket(watch: NativeWatch): void {
  callNative(() => calls().socketEnd(watch), "end socket");
}

/** Sends one packet with a descriptor. EAGAIN: the peer's queue is full. EPIPE, ECONNRESET: the peer has closed the socket. */
export function sendDescriptor(watch: NativeWatch, packet: Uint8Array, fd: number): void {
  callNative(() => {
    calls().socketSend(watch, packet, fd);
  });
}

/** Shuts down the receiving direction (shutdown(2)): the peer gets EPIPE. What it has sent can still be read. */
export function refuseInput(watch: NativeWatch): void {
  callNative(() => {
    calls().socketRefuse(watch);
  }, "refuse input of socket");
}

/**
 * The process that connected a unix stream socket, and its user, as they were then (unix(7), SO_PEERCRED). The pid is 0
 * for a process outside this pid namespace. ENOTSOCK, EBADF.
 */
export function socketPeer(fd: number): { readonly pid: number; readonly uid: number } {
  const [pid, uid] = callNative(() => calls().socketPeer(fd), "read the peer of a socket");
  return { pid, uid };
}

/**
 * 0.05 ms, during which the calling thread is in the network namespace (undefined: the host's). A TCP socket; undefined
 * when the namespace does not have the address family. ENOENT; EINVAL: the file is not a namespace.
 */
export function tcpSocketIn(
  netnsPath: string | undefined,
  options: { readonly ipv6: boolean },
): number | undefined {
  return descriptorOf(callNative(() => calls().socketInNamespace(netnsPath ?? null, options.ipv6)));
}

/** Connects to the loopback address of the socket's family. False: the connect is in progress. */
export function connectToLoopback(watch: NativeWatch, port: number): boolean {
  return callNative(() => calls().socketConnectLoopback(watch, port));
}

/** Throws the error of a connect that was in progress, ECONNREFUSED and others. */
export function throwSocketError(watch: NativeWatch): void {
  callNative(() => calls().socketError(watch));
}

/**
 * The number of bytes read; 0 at the end, undefined when there is nothing yet. EIO: no process has the terminal open.
 */
export function readDescriptor(watch: NativeWatch, bytes: Uint8Array): number | undefined {
  const count = callNative(() => calls().descriptorRead(watch, bytes), "read descriptor");
  return count < 0 ? undefined : count;
}

/** The number of bytes written; undefined when there is no space yet. EPIPE, EIO: no process reads. */
export function writeDescriptor(watch: NativeWatch, bytes: Uint8Array): number | undefined {
  const count = callNative(() => calls().descriptorWrite(watch, bytes), "write descriptor");
  return count < 0 ? undefined : count;
}

/** Sets the size of a terminal, at most 65535 each. ENOTTY. */
export function resizeTerminal(
  watch: NativeWatch,
  size: { readonly rows: number; readonly columns: number },
): void {
  callNative(
    () => calls().terminalResize(watch, size.rows * 65536 + size.columns),
    `resize terminal to ${size.columns} x ${size.rows}`,
  );
}

/** Another descriptor of the same open file. */
export function copyDescriptor(fd: number): number {
  return callNative(() => calls().descriptorCopy(fd), "copy descriptor");
}

/** The bytes that a socket has for its reader; 0 at the end, undefined when there are none yet. ECONNRESET and others. */
export function unreadBytes(fd: number): number | undefined {
  const count = callNative(() => calls().socketUnread(fd), "read socket");
  return count < 0 ? undefined : count;
}

/**
 * Moves at most `most` bytes of a socket into a pipe (splice(2)). The number of them; undefined when the pipe is full, or
 * the socket has none. EPIPE: nobody reads the pipe.
 */
export function moveBytes(socket: number, pipe: number, most: number): number | undefined {
  const count = callNative(() => calls().moveBytes(socket, pipe, most), "move bytes to a pipe");
  return count < 0 ? undefined : count;
}

function descriptorOf(fd: number): number | undefined {
  return fd < 0 ? undefined : fd;
}
