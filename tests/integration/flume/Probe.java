package penstock.flume;

import java.io.File;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.event.EventBuilder;
import org.apache.flume.interceptor.Interceptor;
import org.apache.flume.serialization.DurablePositionTracker;
import org.apache.flume.serialization.EventDeserializer;
import org.apache.flume.serialization.ResettableFileInputStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.common.TopicPartition;

/** Calls our classes as Flume does, and prints what they give: what the tests in test_flume_classes.py look at. */
public final class Probe {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  public static void main(String[] arguments) throws Exception {
    Path file = Path.of(arguments[1]);
    switch (arguments[0]) {
      case "rows" -> rows(file, Integer.parseInt(arguments[2]));
      case "flaky" -> flaky(file, Integer.parseInt(arguments[2]));
      case "crash" -> crash(file, Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
      case "times" -> times(file);
      case "keys" -> keys(file);
      case "blocks" -> blocks(file);
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static EventDeserializer open(Path file, int maxEventBytes) throws Exception {
    File tracker = new File(file + ".meta");
    DurablePositionTracker position = DurablePositionTracker.getInstance(tracker, file.toString());
    Context context = new Context(Map.of("maxEventBytes", Integer.toString(maxEventBytes)));
    return new JsonRowsDeserializer.Builder().build(context, new ResettableFileInputStream(file.toFile(), position));
  }

  private static void print(List<Event> events) {
    events.forEach(event -> OUT.println(new String(event.getBody(), StandardCharsets.UTF_8)));
  }

  private static void rows(Path file, int maxEventBytes) throws Exception {
    EventDeserializer rows = open(file, maxEventBytes);
    for (List<Event> events = rows.readEvents(3); !events.isEmpty(); events = rows.readEvents(3)) {
      print(events);
      rows.mark();
    }
  }

  /** Every second batch is refused by the channel, so it is read again. */
  private static void flaky(Path file, int seed) throws Exception {
    Random chance = new Random(seed);
    EventDeserializer rows = open(file, 900_000);
    while (true) {
      List<Event> events = rows.readEvents(1 + chance.nextInt(4));
      if (events.isEmpty()) {
        return;
      }
      if (chance.nextBoolean()) {
        rows.reset();
      } else {
        print(events);
        rows.mark();
      }
    }
  }

  /** After so many committed events the process ends, and another one goes on. */
  private static void crash(Path file, int before, int size) throws Exception {
    EventDeserializer first = open(file, 900_000);
    for (int count = 0; count < before; count += size) {
      print(first.readEvents(size));
      first.mark();
    }
    first.readEvents(size);
    OUT.println("crash");
    rows(file, 900_000);
  }

  private static void times(Path file) throws Exception {
    EventTime time = new EventTime(List.of("time"), List.of("meta.dt"), List.of("Year", "ID Year"));
    for (String line : Files.readAllLines(file)) {
      OUT.println(time.of(line.getBytes(StandardCharsets.UTF_8), -1));
    }
  }

  private static void keys(Path file) throws Exception {
    KeyInterceptor.Builder builder = new KeyInterceptor.Builder();
    builder.configure(new Context(Map.of("field", "meta.id")));
    Interceptor keys = builder.build();
    for (String line : Files.readAllLines(file)) {
      Event event = EventBuilder.withBody(line, StandardCharsets.UTF_8);
      OUT.println(keys.intercept(event).getHeaders().get("key"));
    }
  }

  /** Lines of "PARTITION VALUE"; the time of each record is its offset, from hour 100 on. */
  private static void blocks(Path file) throws Exception {
    Map<TopicPartition, List<ConsumerRecord<String, byte[]>>> records = new LinkedHashMap<>();
    for (String line : Files.readAllLines(file)) {
      TopicPartition partition = new TopicPartition("t", Integer.parseInt(line.substring(0, 1)));
      List<ConsumerRecord<String, byte[]>> those = records.computeIfAbsent(partition, each -> new ArrayList<>());
      String value = line.substring(2).replace("\\n", "\n").replace("\\r", "\r");
      byte[] body = value.equals("null") ? null : value.getBytes(StandardCharsets.UTF_8);
      those.add(new ConsumerRecord<>("t", partition.partition(), those.size(), "a key", body));
    }
    HourBlocks blocks = new HourBlocks();
    blocks.configure(Map.of(HourBlocks.MILLIS_FIELDS, "time"));
    for (ConsumerRecord<String, byte[]> block : blocks.onConsume(new ConsumerRecords<>(records))) {
      String body = new String(block.value(), StandardCharsets.UTF_8).replace("\n", "\\n");
      OUT.println(block.partition() + " " + block.offset() + " " + block.key() + " " + body);
    }
  }
}
