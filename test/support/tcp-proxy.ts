/** A TCP proxy that a test can cut, freeze and heal. */
import net from 'node:net';

export class CuttableProxy {
  private readonly server: net.Server;
  private readonly sockets = new Set<net.Socket>();
  private state: 'open' | 'cut' | 'frozen' = 'open';
  port = 0;

  private constructor(targetHost: string, targetPort: number) {
    this.server = net.createServer({ pauseOnConnect: true }, (inside) => {
      if (this.state === 'cut') {
        inside.destroy();
        return;
      }
      const outside = net.connect(targetPort, targetHost);
      for (const socket of [inside, outside]) {
        this.sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.sockets.delete(socket);
          inside.destroy();
          outside.destroy();
        });
      }
      inside.pipe(outside);
      outside.pipe(inside);
      if (this.state === 'frozen') this.pause(inside, outside);
    });
  }

  static async listen(targetHost: string, targetPort: number): Promise<CuttableProxy> {
    const proxy = new CuttableProxy(targetHost, targetPort);
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    proxy.port = (proxy.server.address() as net.AddressInfo).port;
    return proxy;
  }

  private pause(...sockets: net.Socket[]): void {
    for (const socket of sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  /** Every connection is reset and new ones are refused at once. */
  cut(): void {
    this.state = 'cut';
    for (const socket of this.sockets) socket.destroy();
  }

  /** Nothing passes any more, and nobody is told. */
  freeze(): void {
    this.state = 'frozen';
    this.pause(...this.sockets);
  }

  /** New connections pass; frozen ones are closed. */
  heal(): void {
    if (this.state === 'frozen') for (const socket of this.sockets) socket.destroy();
    this.state = 'open';
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}
