package penstock.flume;

import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerInterceptor;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * Joins neighbouring records of one hour into blocks of lines, and gives each block its event time as the key.
 *
 * <p>The HDFS sink hands every event to another thread and waits for it, which costs more than writing a line does, so
 * that blocks are several times faster. A block has the offset of its last record: neighbours only are joined, so what
 * is committed after a block is what it holds. A record is one line: a line break in JSON can only stand between its
 * tokens, where a space means the same. A record without a value is an empty line, so that its offset is passed.
 */
public final class HourBlocks implements ConsumerInterceptor<String, byte[]> {
  static final String MILLIS_FIELDS = "penstock.event.time.millis";
  static final String ISO_FIELDS = "penstock.event.time.iso";
  static final String YEAR_FIELDS = "penstock.event.time.years";

  private static final int BLOCK_BYTES = 128 << 10;
  private static final long HOUR_MILLIS = 3_600_000;
  private static final byte[] NOTHING = {};

  private EventTime eventTime;

  @Override
  public void configure(Map<String, ?> settings) {
    eventTime =
        new EventTime(
            names(settings.get(MILLIS_FIELDS)), names(settings.get(ISO_FIELDS)), names(settings.get(YEAR_FIELDS)));
  }

  private static List<String> names(Object setting) {
    String names = setting == null ? "" : setting.toString().strip();
    return names.isEmpty() ? List.of() : List.of(names.split("\\s*,\\s*"));
  }

  @Override
  public ConsumerRecords<String, byte[]> onConsume(ConsumerRecords<String, byte[]> records) {
    Map<TopicPartition, List<ConsumerRecord<String, byte[]>>> blocks = new LinkedHashMap<>();
    for (TopicPartition partition : records.partitions()) {
      blocks.put(partition, join(records.records(partition)));
    }
    return new ConsumerRecords<>(blocks);
  }

  private List<ConsumerRecord<String, byte[]>> join(List<ConsumerRecord<String, byte[]>> records) {
    List<ConsumerRecord<String, byte[]>> blocks = new ArrayList<>();
    ByteArrayOutputStream lines = new ByteArrayOutputStream();
    ConsumerRecord<String, byte[]> last = null;
    long time = 0;
    for (ConsumerRecord<String, byte[]> record : records) {
      byte[] value = record.value() == null ? NOTHING : record.value();
      long recordTime = eventTime.of(value, record.timestamp());
      if (last != null && (!isSameHour(time, recordTime) || lines.size() + value.length > BLOCK_BYTES)) {
        blocks.add(block(last, time, lines));
        last = null;
      }
      if (last == null) {
        lines.reset();
        time = recordTime;
      } else {
        lines.write('\n');
      }
      addLine(lines, value);
      last = record;
    }
    if (last != null) {
      blocks.add(block(last, time, lines));
    }
    return blocks;
  }

  private static boolean isSameHour(long one, long other) {
    return Math.floorDiv(one, HOUR_MILLIS) == Math.floorDiv(other, HOUR_MILLIS);
  }

  private static void addLine(ByteArrayOutputStream lines, byte[] value) {
    int from = 0;
    for (int at = 0; at < value.length; at++) {
      if (value[at] == '\n' || value[at] == '\r') {
        lines.write(value, from, at - from);
        lines.write(' ');
        from = at + 1;
      }
    }
    lines.write(value, from, value.length - from);
  }

  private static ConsumerRecord<String, byte[]> block(
      ConsumerRecord<String, byte[]> last, long time, ByteArrayOutputStream lines) {
    return new ConsumerRecord<>(
        last.topic(), last.partition(), last.offset(), Long.toString(time), lines.toByteArray());
  }

  @Override
  public void onCommit(Map<TopicPartition, OffsetAndMetadata> offsets) {}

  @Override
  public void close() {}
}
