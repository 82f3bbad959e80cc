package penstock.flume;

import java.util.List;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.channel.kafka.KafkaChannelConfiguration;
import org.apache.flume.conf.ConfigurationException;
import org.apache.flume.interceptor.Interceptor;

/**
 * Gives each event a text of its JSON as its key, by which Kafka chooses the partition: repetitions share one.
 *
 * <p>Its setting {@code field} names the text, such as {@code meta.id}. An event without it goes on without a key.
 * Unlike a regular expression, this does not take what merely looks like the field inside of another one.
 */
public final class KeyInterceptor implements Interceptor {
  private final JsonText key;

  private KeyInterceptor(String field) {
    key = new JsonText(field);
  }

  /** Makes the interceptor that a conf names. */
  public static final class Builder implements Interceptor.Builder {
    private String field;

    @Override
    public void configure(Context context) {
      field = context.getString("field");
      if (field == null || field.isBlank()) {
        throw new ConfigurationException("KeyInterceptor needs the setting field, such as meta.id");
      }
    }

    @Override
    public Interceptor build() {
      return new KeyInterceptor(field);
    }
  }

  @Override
  public void initialize() {}

  @Override
  public Event intercept(Event event) {
    String found = key.in(event.getBody());
    if (found != null) {
      event.getHeaders().put(KafkaChannelConfiguration.KEY_HEADER, found);
    }
    return event;
  }

  @Override
  public List<Event> intercept(List<Event> events) {
    events.forEach(this::intercept);
    return events;
  }

  @Override
  public void close() {}
}
