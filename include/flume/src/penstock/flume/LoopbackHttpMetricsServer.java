package penstock.flume;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import org.apache.flume.Context;
import org.apache.flume.instrumentation.MonitorService;
import org.apache.flume.instrumentation.util.JMXPollUtil;

/**
 * The counters of all components as JSON at {@code /metrics}, like Flume's own server, for this machine alone.
 *
 * <p>Flume's listens on every interface, and cannot be told not to. Chosen by {@code
 * -Dflume.monitoring.type=penstock.flume.LoopbackHttpMetricsServer -Dflume.monitoring.port=PORT}. In a container, {@code
 * -Dflume.monitoring.host=0.0.0.0} opens it to the inner network.
 */
public final class LoopbackHttpMetricsServer implements MonitorService {
  private static final int OK = 200;
  private static final int NOT_FOUND = 404;
  private static final int METHOD_NOT_ALLOWED = 405;

  private final ObjectMapper json = new ObjectMapper();
  private String host;
  private int port;
  private HttpServer server;

  @Override
  public void configure(Context context) {
    host = context.getString("host", InetAddress.getLoopbackAddress().getHostAddress());
    port = context.getInteger("port");
  }

  @Override
  public void start() {
    try {
      server = HttpServer.create(new InetSocketAddress(host, port), 0);
    } catch (IOException error) {
      // Flume would log an exception and go on without metrics, by which nobody can see whether it works. An orderly
      // exit would wait for the lock under which this is called.
      System.err.printf(
          "The metrics cannot be served on %s:%d: %s. End what uses the port, or choose another one, and start again.%n",
          host, port, error.getMessage());
      Runtime.getRuntime().halt(1);
    }
    server.createContext("/", this::answer);
    server.start();
  }

  @Override
  public void stop() {
    if (server != null) {
      server.stop(0);
    }
  }

  private void answer(HttpExchange exchange) throws IOException {
    try (exchange) {
      if (!exchange.getRequestMethod().equals("GET")) {
        send(exchange, METHOD_NOT_ALLOWED, "text/plain", "only GET is understood\n".getBytes(StandardCharsets.UTF_8));
      } else if (!exchange.getRequestURI().getPath().equals("/metrics")) {
        send(exchange, NOT_FOUND, "text/plain", "see /metrics\n".getBytes(StandardCharsets.UTF_8));
      } else {
        send(exchange, OK, "application/json", json.writeValueAsBytes(JMXPollUtil.getAllMBeans()));
      }
    }
  }

  private static void send(HttpExchange exchange, int status, String type, byte[] body) throws IOException {
    exchange.getResponseHeaders().set("Content-Type", type + ";charset=utf-8");
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
  }
}
