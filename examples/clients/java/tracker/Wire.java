package tracker;

import java.io.IOException;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32;
import org.msgpack.core.MessageBufferPacker;
import org.msgpack.core.MessagePack;
import org.msgpack.core.MessagePackException;
import org.msgpack.core.MessagePacker;
import org.msgpack.core.MessageUnpacker;
import org.msgpack.value.Value;

/**
 * Encodes and decodes the protocol: plain data, records, frames. Does not know about sockets, threads or timeouts.
 *
 * <p>Plain data is null, Boolean, Byte to Long, BigInteger, Float, Double, String, and collections and maps of these. A
 * Float or a Double is a float on the wire, also 0.0 and 1.0; the others are integers.
 */
final class Wire {
    static final int PROTOCOL = 1;
    static final int MAX_RECORD_BYTES = 8_388_608;
    static final int HEAD_BYTES = 8;
    private static final int MAX_DEPTH = 16;
    /** Records are small, and each gets a new buffer. */
    private static final MessagePack.PackerConfig PACKING = new MessagePack.PackerConfig().withBufferSize(512);

    /** A result: the part of a record from the sidecar that a client needs. */
    record Result(String kind, String client, Map<String, Object> body) {
        String text(String key) {
            return body.get(key) instanceof String text ? text : "";
        }

        long number(String key) {
            return body.get(key) instanceof Number number ? number.longValue() : 0;
        }
    }

    private final String run;
    final String client;

    /** Creates records of this client in this run. */
    Wire(String run, String client) {
        this.run = run;
        this.client = client;
    }

    static double unixTime() {
        return System.currentTimeMillis() / 1000.0;
    }

    /** A body as msgpack. Throws IllegalArgumentException if it is not plain data. */
    static byte[] encodeBody(Map<String, ?> body) {
        try (MessageBufferPacker packer = PACKING.newBufferPacker()) {
            pack(packer, body, 1);
            return packer.toByteArray();
        } catch (IOException error) {
            throw new IllegalStateException("cannot write to memory", error);
        }
    }

    /** One bare record with an encoded body. */
    byte[] bare(String kind, long seq, byte[] body) {
        byte[] framed = framed(kind, seq, body);
        return Arrays.copyOfRange(framed, HEAD_BYTES, framed.length);
    }

    /** One framed record, with the header 0xC1, its length and its CRC-32, big-endian. */
    byte[] framed(String kind, long seq, byte[] body) {
        byte[] frame;
        try (MessageBufferPacker packer = PACKING.newBufferPacker()) {
            packer.writePayload(new byte[HEAD_BYTES]);
            packer.packArrayHeader(6).packString(kind).packString(run).packString(client);
            packer.packLong(seq).packDouble(unixTime()).writePayload(body);
            frame = packer.toByteArray();
        } catch (IOException error) {
            throw new IllegalStateException("cannot write to memory", error);
        }
        int length = frame.length - HEAD_BYTES;
        CRC32 sum = new CRC32();
        sum.update(frame, HEAD_BYTES, length);
        frame[0] = (byte) 0xC1;
        for (int i = 0; i < 3; i++) {
            frame[1 + i] = (byte) (length >> (16 - 8 * i));
        }
        for (int i = 0; i < 4; i++) {
            frame[4 + i] = (byte) (sum.getValue() >> (24 - 8 * i));
        }
        return frame;
    }

    /** A bare record of the sidecar; null if it is invalid, since clients ignore invalid records. */
    static Result decode(byte[] message) {
        try (MessageUnpacker unpacker = MessagePack.newDefaultUnpacker(message)) {
            Object record = plain(unpacker.unpackValue());
            if (record instanceof List<?> elements && elements.size() == 6 && elements.get(0) instanceof String kind
                    && elements.get(2) instanceof String client && elements.get(5) instanceof Map<?, ?> body) {
                return new Result(kind, client, stringKeys(body));
            }
            return null;
        } catch (IOException | MessagePackException error) {
            return null;
        }
    }

    @SuppressWarnings("unchecked") // plain() creates maps with string keys only
    private static Map<String, Object> stringKeys(Map<?, ?> map) {
        return (Map<String, Object>) map;
    }

    /** `level` is the nesting depth of the value; that of a body is 1. */
    private static void pack(MessagePacker packer, Object value, int level) throws IOException {
        if (value == null) {
            packer.packNil();
        } else if (value instanceof Boolean flag) {
            packer.packBoolean(flag);
        } else if (value instanceof Double || value instanceof Float) {
            packer.packDouble(((Number) value).doubleValue());
        } else if (value instanceof Long || value instanceof Integer || value instanceof Short
                || value instanceof Byte) {
            packer.packLong(((Number) value).longValue());
        } else if (value instanceof BigInteger number) {
            packer.packBigInteger(number);
        } else if (value instanceof String text) {
            packer.packString(text);
        } else if (value instanceof Collection<?> list) {
            checkLevel(level);
            packer.packArrayHeader(list.size());
            for (Object item : list) {
                pack(packer, item, level + 1);
            }
        } else if (value instanceof Map<?, ?> map) {
            checkLevel(level);
            packer.packMapHeader(map.size());
            for (Map.Entry<?, ?> item : map.entrySet()) {
                packer.packString(item.getKey().toString());
                pack(packer, item.getValue(), level + 1);
            }
        } else {
            throw new IllegalArgumentException("a " + value.getClass().getName() + " is not plain data;"
                    + " use numbers, booleans, strings, collections and maps");
        }
    }

    private static void checkLevel(int level) {
        if (level > MAX_DEPTH) {
            throw new IllegalArgumentException("nested more than " + MAX_DEPTH + " levels deep");
        }
    }

    private static Object plain(Value value) {
        if (value.isBooleanValue()) {
            return value.asBooleanValue().getBoolean();
        } else if (value.isIntegerValue()) {
            return value.asIntegerValue().isInLongRange()
                    ? (Object) value.asIntegerValue().asLong()
                    : value.asIntegerValue().asBigInteger();
        } else if (value.isFloatValue()) {
            return value.asFloatValue().toDouble();
        } else if (value.isStringValue()) {
            return value.asStringValue().asString();
        } else if (value.isArrayValue()) {
            List<Object> list = new ArrayList<>();
            value.asArrayValue().forEach(item -> list.add(plain(item)));
            return list;
        } else if (value.isMapValue()) {
            Map<String, Object> map = new LinkedHashMap<>();
            value.asMapValue().map().forEach((key, item) -> map.put(key.asRawValue().asString(), plain(item)));
            return map;
        }
        return null;
    }
}
