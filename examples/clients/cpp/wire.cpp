#include "wire.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <msgpack.hpp>

namespace tracker {
namespace {

constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxKeys = 10'000;
constexpr char kRow = 1;  // the first byte of a row

constexpr std::array<std::uint32_t, 256> make_crc_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t sum = byte;
        for (int bit = 0; bit < 8; ++bit) sum = (sum & 1) ? 0xEDB88320u ^ (sum >> 1) : sum >> 1;
        table[byte] = sum;
    }
    return table;
}

std::uint32_t crc32(std::string_view bytes) {
    static constexpr auto table = make_crc_table();
    std::uint32_t sum = 0xFFFFFFFFu;
    for (unsigned char byte : bytes) sum = table[(sum ^ byte) & 0xFF] ^ (sum >> 8);
    return ~sum;
}

// The output of msgpack.
struct Buffer {
    std::string bytes;
    void write(const char* data, std::size_t size) { bytes.append(data, size); }
};
using Packer = msgpack::packer<Buffer>;

void pack_text(Packer& packer, const std::string& text) {
    packer.pack_str(static_cast<std::uint32_t>(text.size()));
    packer.pack_str_body(text.data(), static_cast<std::uint32_t>(text.size()));
}

std::uint64_t bits_of(double number) {
    static_assert(std::numeric_limits<double>::is_iec559 && sizeof(double) == sizeof(std::uint64_t));
    std::uint64_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
}

double double_of(std::uint64_t bits) {
    double number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

// Always encodes a float 64. The library's pack_double() encodes 1.0 as the integer 1 in version 4
// (https://github.com/msgpack/msgpack-c/blob/cpp-4.1.3/include/msgpack/v1/pack.hpp).
void pack_float64(Packer& packer, double number) {
    const std::uint64_t bits = bits_of(number);
    char bytes[9] = {'\xCB'};
    for (int i = 0; i < 8; ++i) bytes[1 + i] = static_cast<char>(bits >> (56 - 8 * i));
    // The library has no call for encoded bytes; pack_str_body() writes them unchanged.
    packer.pack_str_body(bytes, sizeof bytes);
}

// `level` is the nesting depth of the value; that of a body is 1.
void pack_value(Packer& packer, const Value& value, std::size_t level);

void pack_map(Packer& packer, const Map& map, std::size_t level) {
    if (level > kMaxDepth) throw std::invalid_argument("nested more than 16 levels deep");
    packer.pack_map(static_cast<std::uint32_t>(map.size()));
    for (const auto& [key, value] : map) {
        pack_text(packer, key);
        pack_value(packer, value, level + 1);
    }
}

void pack_list(Packer& packer, const List& list, std::size_t level) {
    if (level > kMaxDepth) throw std::invalid_argument("nested more than 16 levels deep");
    packer.pack_array(static_cast<std::uint32_t>(list.size()));
    for (const Value& value : list) pack_value(packer, value, level + 1);
}

struct PackVisitor {
    Packer& packer;
    std::size_t level;

    void operator()(std::nullptr_t) const { packer.pack_nil(); }
    void operator()(bool flag) const { flag ? packer.pack_true() : packer.pack_false(); }
    void operator()(std::int64_t number) const { packer.pack_int64(number); }
    void operator()(std::uint64_t number) const { packer.pack_uint64(number); }
    void operator()(double number) const { pack_float64(packer, number); }
    void operator()(const std::string& text) const { pack_text(packer, text); }
    void operator()(const List& list) const { pack_list(packer, list, level); }
    void operator()(const Map& map) const { pack_map(packer, map, level); }
};

void pack_value(Packer& packer, const Value& value, std::size_t level) {
    std::visit(PackVisitor{packer, level}, value.data);
}

// Writes the head of a frame, for which there is room before the content.
void finish_frame(std::string& frame) {
    const std::size_t length = frame.size() - kHeadBytes;
    const std::uint32_t sum = crc32(std::string_view(frame).substr(kHeadBytes));
    frame[0] = '\xC1';
    for (int i = 0; i < 3; ++i) frame[1 + i] = static_cast<char>(length >> (16 - 8 * i));
    for (int i = 0; i < 4; ++i) frame[4 + i] = static_cast<char>(sum >> (24 - 8 * i));
}

// The numbers in a row take 8 bytes each, little-endian. `place` 0 is that of the first byte and the schema's id.
void put_word(std::string& frame, std::uint64_t word) {
    for (int i = 0; i < 8; ++i) frame += static_cast<char>(word >> (8 * i));
}

std::uint64_t word_at(std::string_view frame, std::size_t place) {
    std::uint64_t word = 0;
    for (int i = 7; i >= 0; --i) word = word << 8 | static_cast<unsigned char>(frame[kHeadBytes + 8 * place + i]);
    return word;
}

// The type of a metric in a row; 0 if it cannot be in one.
char row_type(const Value& value) {
    if (value.as<double>()) return 'd';
    if (value.as<bool>()) return '?';
    const auto* count = value.as<std::uint64_t>();
    const bool fits = count != nullptr && *count <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return fits || value.as<std::int64_t>() ? 'q' : '\0';
}

std::uint64_t row_word(const Value& value) {
    if (const auto* number = value.as<double>()) return bits_of(*number);
    if (const auto* flag = value.as<bool>()) return *flag;
    if (const auto* count = value.as<std::uint64_t>()) return *count;
    return static_cast<std::uint64_t>(value.integer());
}

Value row_value(char type, std::uint64_t word) {
    if (type == 'd') return double_of(word);
    if (type == '?') return word == 1;
    return static_cast<std::int64_t>(word);
}

Value unpack_value(const msgpack::object& object) {
    switch (object.type) {
        case msgpack::type::BOOLEAN: return object.via.boolean;
        case msgpack::type::POSITIVE_INTEGER:
            if (object.via.u64 > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
                return object.via.u64;
            }
            return static_cast<std::int64_t>(object.via.u64);
        case msgpack::type::NEGATIVE_INTEGER: return object.via.i64;
        case msgpack::type::FLOAT32:
        case msgpack::type::FLOAT64: return object.via.f64;
        case msgpack::type::STR: return std::string(object.via.str.ptr, object.via.str.size);
        case msgpack::type::BIN: return std::string(object.via.bin.ptr, object.via.bin.size);
        case msgpack::type::ARRAY: {
            List list;
            for (std::uint32_t i = 0; i < object.via.array.size; ++i) {
                list.push_back(unpack_value(object.via.array.ptr[i]));
            }
            return list;
        }
        case msgpack::type::MAP: {
            Map map;
            for (std::uint32_t i = 0; i < object.via.map.size; ++i) {
                const auto& item = object.via.map.ptr[i];
                if (item.key.type == msgpack::type::STR) map[item.key.as<std::string>()] = unpack_value(item.val);
            }
            return map;
        }
        default: return nullptr;
    }
}

}  // namespace

std::string encode_body(const Map& body) {
    Buffer buffer;
    Packer packer(buffer);
    pack_map(packer, body, 1);
    return std::move(buffer.bytes);
}

std::optional<Result> decode_result(std::string_view message) {
    try {
        const auto handle = msgpack::unpack(message.data(), message.size());
        const Value record = unpack_value(handle.get());
        const List* elements = record.as<List>();
        if (elements == nullptr || elements->size() != 6 || (*elements)[5].as<Map>() == nullptr) return {};
        return Result{(*elements)[0].text(), (*elements)[2].text(), (*elements)[5]};
    } catch (const msgpack::unpack_error&) {
        return {};
    }
}

double unix_time() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string encode_record(const char* kind, const std::string& run, const std::string& client, std::uint64_t seq,
                          std::string_view body, bool framed, double time) {
    Buffer buffer;
    buffer.bytes.reserve(body.size() + 64 + run.size() + client.size());
    if (framed) buffer.bytes.assign(kHeadBytes, '\0');
    Packer packer(buffer);
    packer.pack_array(6);
    pack_text(packer, kind);
    pack_text(packer, run);
    pack_text(packer, client);
    packer.pack_uint64(seq);
    pack_float64(packer, time);
    buffer.bytes.append(body);
    if (framed) finish_frame(buffer.bytes);
    return std::move(buffer.bytes);
}

Map Schema::body() const {
    return {{"id", id}, {"keys", List(keys.begin(), keys.end())}, {"types", types}};
}

std::string row_signature(const Map& data) {
    std::string signature;
    if (data.empty() || data.size() > kMaxKeys) return signature;
    for (const auto& [key, value] : data) {
        const char type = row_type(value);
        if (type == '\0') return {};
        signature += std::to_string(key.size()) + type + key;
    }
    return signature;
}

Schema make_schema(const Map& data) {
    std::random_device random;
    Schema schema{(std::uint64_t{random()} << 32 | random()) >> 8, {}, {}};
    for (const auto& [key, value] : data) {
        schema.keys.push_back(key);
        schema.types += row_type(value);
    }
    return schema;
}

std::string encode_row(const Schema& schema, std::uint64_t seq, std::int64_t step, const Map& data) {
    std::string frame;
    frame.reserve(kHeadBytes + 8 * (4 + data.size()));
    frame.assign(kHeadBytes, '\0');
    put_word(frame, schema.id << 8 | kRow);
    put_word(frame, seq);
    put_word(frame, bits_of(unix_time()));
    put_word(frame, static_cast<std::uint64_t>(step));
    for (const auto& [key, value] : data) put_word(frame, row_word(value));
    finish_frame(frame);
    return frame;
}

std::optional<std::uint64_t> schema_of_row(std::string_view frame) {
    if (frame[kHeadBytes] != kRow) return {};
    return word_at(frame, 0) >> 8;
}

std::string row_as_log(const Schema& schema, const std::string& run, const std::string& client,
                       std::string_view frame) {
    Map data;
    for (std::size_t i = 0; i < schema.keys.size(); ++i) {
        data[schema.keys[i]] = row_value(schema.types[i], word_at(frame, 4 + i));
    }
    const Map body{{"step", static_cast<std::int64_t>(word_at(frame, 3))}, {"data", std::move(data)}};
    return encode_record("log", run, client, word_at(frame, 1), encode_body(body), true, double_of(word_at(frame, 2)));
}

const Value& Value::operator[](const std::string& key) const& {
    static const Value nil;
    const Map* map = as<Map>();
    if (map == nullptr) return nil;
    const auto item = map->find(key);
    return item == map->end() ? nil : item->second;
}

Value Value::operator[](const std::string& key) && { return std::as_const(*this)[key]; }

double Value::number() const {
    if (const auto* value = as<double>()) return *value;
    if (const auto* value = as<std::int64_t>()) return static_cast<double>(*value);
    if (const auto* value = as<std::uint64_t>()) return static_cast<double>(*value);
    return std::nan("");
}

std::int64_t Value::integer(std::int64_t otherwise) const {
    const auto* value = as<std::int64_t>();
    return value == nullptr ? otherwise : *value;
}

const std::string& Value::text() const {
    static const std::string none;
    const auto* value = as<std::string>();
    return value == nullptr ? none : *value;
}

}  // namespace tracker
