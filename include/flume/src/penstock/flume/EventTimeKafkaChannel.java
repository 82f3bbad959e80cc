package penstock.flume;

import java.util.Map;
import java.util.UUID;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.channel.kafka.KafkaChannel;
import org.apache.flume.channel.kafka.KafkaChannelConfiguration;
import org.apache.kafka.clients.consumer.ConsumerConfig;

/**
 * A Kafka channel of JSON records whose events carry the time that the records are about.
 *
 * <p>Kafka itself is the channel: nothing is copied on the way, and offsets are committed after the sink has flushed.
 * Each event is a block of lines, see {@link HourBlocks}, with two headers:
 *
 * <ul>
 *   <li>{@code timestamp}: the event time in ms since the epoch, from which the HDFS sink makes {@code %Y-%m-%d/%H};
 *       where a record has none, the time of the Kafka record;
 *   <li>{@code writer}: the name of this process, different at every start, to make file names unique.
 * </ul>
 *
 * <p>Its own settings are {@code eventTime.millis}, {@code eventTime.iso} and {@code eventTime.years}, names of fields
 * separated by commas; see {@link EventTime}.
 */
public final class EventTimeKafkaChannel extends KafkaChannel {
  private static final String TIMESTAMP_HEADER = "timestamp";
  private static final String WRITER_HEADER = "writer";

  private final String writer = UUID.randomUUID().toString().substring(0, 8);

  @Override
  public void configure(Context context) {
    String consumer = KafkaChannelConfiguration.KAFKA_CONSUMER_PREFIX;
    context.put(consumer + ConsumerConfig.INTERCEPTOR_CLASSES_CONFIG, HourBlocks.class.getName());
    context.put(consumer + HourBlocks.MILLIS_FIELDS, context.getString("eventTime.millis", ""));
    context.put(consumer + HourBlocks.ISO_FIELDS, context.getString("eventTime.iso", ""));
    context.put(consumer + HourBlocks.YEAR_FIELDS, context.getString("eventTime.years", ""));
    context.put(KafkaChannelConfiguration.PARSE_AS_FLUME_EVENT, "false");
    super.configure(context);
  }

  @Override
  public Event take() {
    Event event = super.take();
    if (event != null) {
      Map<String, String> headers = event.getHeaders();
      String time = headers.remove(KafkaChannelConfiguration.KEY_HEADER);
      if (time != null) { // null where the event was rolled back, and comes again with its headers
        headers.put(TIMESTAMP_HEADER, time);
        headers.put(WRITER_HEADER, writer);
      }
    }
    return event;
  }
}
