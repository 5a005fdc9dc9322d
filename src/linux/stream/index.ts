/** Streams that node:net and node:fs do not support: FIFOs, terminals, packet sockets, passed descriptors. */
export { DescriptorStream } from "./descriptor-stream.ts";
export {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "./fifo.ts";
export { PipeEnd, UnreadSocket } from "./unread-socket.ts";
export { connectedSockets } from "./native.ts";
export { peerOf, type SocketPeer } from "./peer.ts";
export { ConsoleSocket, connectLoopback, connectPackets } from "./sockets.ts";
