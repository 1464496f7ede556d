// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/store_url.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <set>

#include "tools/gateway/blocks/file/dir_block_store.h"
#include "tools/gateway/blocks/s3/s3_block_store.h"
#include "tools/gateway/blocks/s3/s3_keys.h"
#include "tools/gateway/meta/redis/redis_store.h"
#include "tools/gateway/meta/sqlite/sqlite_store.h"

namespace airstore::gateway {
namespace {

Error Wrong(const std::string& what) { return {EINVAL, what}; }

bool ParseNumber(std::string_view text, int least, int most, int* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() && *number >= least &&
         *number <= most;
}

Result<std::string> Decode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i]);
      continue;
    }
    unsigned byte = 0;
    const char* at = text.data() + i + 1;
    if (i + 2 >= text.size()) return Wrong("% needs two digits");
    const auto [end, error] = std::from_chars(at, at + 2, byte, 16);
    if (error != std::errc() || end != at + 2 || byte == 0) return Wrong("% needs two digits");
    decoded.push_back(static_cast<char>(byte));
    i += 2;
  }
  return decoded;
}

// Takes a parameter out; what is left at the end is not known.
std::string Take(StoreUrl& url, const std::string& name, const std::string& otherwise = "") {
  const auto it = url.parameters.find(name);
  if (it == url.parameters.end()) return otherwise;
  std::string value = std::move(it->second);
  url.parameters.erase(it);
  return value;
}

Result<void> NothingLeft(const StoreUrl& url) {
  if (url.parameters.empty()) return {};
  return Wrong(url.scheme + ": there is no parameter '" + url.parameters.begin()->first + "'");
}

bool IsPrefix(std::string_view text) {
  return !text.empty() && text.find_first_not_of(
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
                              "YZ0123456789_.-") == std::string_view::npos;
}

Result<std::string> PasswordFrom(const std::string& file) {
  if (file.empty()) {
    const char* value = getenv("AIRSTORE_REDIS_PASSWORD");
    return std::string(value == nullptr ? "" : value);
  }
  std::ifstream in(file);
  std::string password;
  if (!std::getline(in, password)) return SysError("password-file " + file, errno ? errno : EINVAL);
  return password;
}

Result<StoreUrl> ParseFor(const std::string& url, const char* what) {
  auto parsed = ParseStoreUrl(url);
  if (!parsed) return Wrong(std::string(what) + " '" + url + "': " + parsed.error().message);
  return parsed;
}

}  // namespace

Result<StoreUrl> ParseStoreUrl(std::string_view text) {
  StoreUrl url;
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos || colon == 0) return Wrong("must begin with SCHEME://");
  url.scheme = text.substr(0, colon);
  text.remove_prefix(colon + 3);
  std::string_view query;
  if (const size_t mark = text.find('?'); mark != std::string_view::npos) {
    query = text.substr(mark + 1);
    text = text.substr(0, mark);
  }
  const size_t slash = std::min(text.find('/'), text.size());
  std::string_view authority = text.substr(0, slash);
  auto path = Decode(text.substr(slash));
  if (!path) return path.error();
  url.path = std::move(*path);

  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) {
    if (authority.substr(0, at).find(':') != std::string_view::npos) {
      return Wrong("a password on a command line is seen by everybody: use password-file");
    }
    auto user = Decode(authority.substr(0, at));
    if (!user) return user.error();
    url.user = std::move(*user);
    authority.remove_prefix(at + 1);
  }
  if (authority.find(',') != std::string_view::npos) {
    url.host = authority;
    authority = {};
  }
  const size_t bracket = authority.find(']');
  const size_t port = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (port != std::string_view::npos) {
    if (!ParseNumber(authority.substr(port + 1), 1, 65535, &url.port)) return Wrong("port");
    authority = authority.substr(0, port);
  }
  if (authority.starts_with('[')) {
    if (bracket + 1 != authority.size()) return Wrong("host");
    authority = authority.substr(1, authority.size() - 2);
  }
  if (url.host.empty()) url.host = authority;

  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return Wrong("a parameter needs NAME=VALUE");
    auto value = Decode(pair.substr(equals + 1));
    if (!value) return value.error();
    url.parameters[std::string(pair.substr(0, equals))] = std::move(*value);
  }
  return url;
}

namespace {

Result<std::vector<RedisAddress>> ServersOf(const StoreUrl& url, const std::string& one,
                                            int usual_port) {
  std::vector<RedisAddress> servers;
  std::string_view hosts = url.host;
  while (!hosts.empty()) {
    const size_t comma = std::min(hosts.find(','), hosts.size());
    const bool single = comma == url.host.size();
    auto parsed =
        single ? Result(url) : ParseStoreUrl("server://" + std::string(hosts.substr(0, comma)));
    if (!parsed || parsed->host.empty()) return Wrong(one + " is HOST or HOST:PORT");
    servers.push_back({parsed->host, parsed->port != 0 ? parsed->port : usual_port});
    hosts.remove_prefix(std::min(comma + 1, hosts.size()));
  }
  if (servers.empty() || url.host.ends_with(','))
    return Wrong(one + " is needed: HOST or HOST:PORT");
  return servers;
}

Result<void> TakeSentinels(const StoreUrl& url, RedisOptions* options) {
  auto servers = ServersOf(url, "a sentinel", RedisSentinel().port);
  if (!servers) return servers.error();
  for (const RedisAddress& one : *servers) options->sentinels.push_back({one.host, one.port});
  options->service = url.path.substr(std::min<size_t>(url.path.size(), 1));
  if (options->service.empty() || options->service.find('/') != std::string::npos) {
    return Wrong("needs the service that the sentinels watch: /SERVICE");
  }
  return {};
}

Result<void> TakeCluster(const StoreUrl& url, RedisOptions* options) {
  auto servers = ServersOf(url, "a server of the cluster", RedisAddress().port);
  if (!servers) return servers.error();
  options->cluster = std::move(*servers);
  if (url.path.size() > 1) return Wrong("a cluster has no databases");
  return {};
}

}  // namespace

Result<RedisOptions> RedisOptionsFrom(StoreUrl url) {
  RedisOptions options;
  options.tls = url.scheme.starts_with("rediss");
  options.user = url.user;
  std::string database = Take(url, "database");
  if (url.scheme.ends_with("+sentinel")) {
    AIRSTORE_TRY(TakeSentinels(url, &options));
  } else if (url.scheme.ends_with("+cluster")) {
    AIRSTORE_TRY(TakeCluster(url, &options));
    if (!database.empty()) return Wrong("a cluster has no databases");
  } else if (url.host.find(',') != std::string::npos) {
    return Wrong("one host; several are redis+sentinel:// or redis+cluster://");
  } else if (url.host.empty()) {
    if (options.tls || url.path.size() < 2) return Wrong("needs a host, or the path of a socket");
    options.socket = url.path;
  } else {
    options.host = url.host;
    if (url.port != 0) options.port = url.port;
    if (url.path.size() > 1) database = url.path.substr(1);
  }
  if (!database.empty() && !ParseNumber(database, 0, 1 << 20, &options.database)) {
    return Wrong("the database is a number");
  }
  options.prefix = Take(url, "prefix", options.prefix);
  if (!IsPrefix(options.prefix)) return Wrong("prefix: letters, digits, '.', '_' and '-'");
  int seconds = 0;
  if (!ParseNumber(Take(url, "timeout", "10"), 1, 600, &seconds)) return Wrong("timeout: 1 to 600");
  options.timeout = std::chrono::seconds(seconds);
  auto password = PasswordFrom(Take(url, "password-file"));
  if (!password) return password.error();
  options.password = std::move(*password);
  options.ca_file = Take(url, "ca-file");
  options.cert_file = Take(url, "cert-file");
  options.key_file = Take(url, "key-file");
  if (options.cert_file.empty() != options.key_file.empty()) {
    return Wrong("cert-file and key-file belong together");
  }
  AIRSTORE_TRY(NothingLeft(url));
  return options;
}

Result<S3Place> S3PlaceFrom(StoreUrl url) {
  S3Place place;
  S3Options& options = place.options;
  options.bucket = url.host;
  if (options.bucket.empty()) return Wrong("needs a bucket");
  if (url.port != 0 || !url.user.empty()) return Wrong("a bucket has no port and no user");
  place.prefix = url.path;
  while (place.prefix.starts_with('/')) place.prefix.erase(0, 1);
  while (place.prefix.ends_with('/')) place.prefix.pop_back();
  options.region = Take(url, "region", options.region);
  const bool amazon = !url.parameters.contains("endpoint");
  options.endpoint = Take(url, "endpoint", "https://s3." + options.region + ".amazonaws.com");
  if (!options.endpoint.starts_with("http://") && !options.endpoint.starts_with("https://")) {
    return Wrong("the endpoint begins with https:// or http://");
  }
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  const std::string_view host =
      std::string_view(options.endpoint).substr(options.endpoint.find(':') + 1);
  if (host.size() < 3 || host.find_first_of("/?#@", 2) != std::string_view::npos) {
    return Wrong("the endpoint is https://HOST or https://HOST:PORT");
  }
  const std::string style = Take(url, "style", amazon ? "virtual" : "path");
  if (style != "path" && style != "virtual") return Wrong("style is path or virtual");
  options.virtual_host = style == "virtual";
  int connections = 0;
  if (!ParseNumber(Take(url, "connections", "32"), 1, 1024, &connections)) {
    return Wrong("connections: 1 to 1024");
  }
  options.http.connections = static_cast<size_t>(connections);
  options.http.ca_file = Take(url, "ca-file");
  const std::string credentials = Take(url, "credentials");
  const std::string profile = Take(url, "profile");
  AIRSTORE_TRY(NothingLeft(url));
  auto keys = FindS3Keys(credentials, profile);
  if (!keys) return keys.error();
  options.keys = std::move(*keys);
  return place;
}

namespace {

// Of one kind or another; the pointers are to what `stores` owns.
struct Opened {
  Stores stores;
  SqliteStore* sqlite = nullptr;
  RedisStore* redis = nullptr;
  DirBlockStore* directory = nullptr;
  S3BlockStore* s3 = nullptr;
};

template <typename Engine, typename Interface>
Result<void> Keep(Result<std::unique_ptr<Engine>> opened, Engine** engine,
                  std::unique_ptr<Interface>* owner) {
  if (!opened) return opened.error();
  *engine = opened->get();
  *owner = std::move(*opened);
  return {};
}

Result<void> OpenMetadata(const std::string& text, Opened* opened) {
  auto url = ParseFor(text, "metadata");
  if (!url) return url.error();
  if (url->scheme == "sqlite") {
    if (!url->host.empty() || url->path.size() < 2) return Wrong("metadata: sqlite:///FILE");
    AIRSTORE_TRY(NothingLeft(*url));
    return Keep(SqliteStore::Open(url->path), &opened->sqlite, &opened->stores.metadata);
  }
  static const std::set<std::string_view> redis = {
      "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"};
  if (!redis.contains(url->scheme)) {
    return Wrong("metadata '" + text + "': sqlite, redis, redis+sentinel, redis+cluster; rediss " +
                 "for TLS");
  }
  auto options = RedisOptionsFrom(std::move(*url));
  if (!options) return Error{options.error().code, "metadata: " + options.error().message};
  return Keep(RedisStore::Open(std::move(*options)), &opened->redis, &opened->stores.metadata);
}

Result<void> OpenBlocks(const std::string& text, Opened* opened) {
  auto url = ParseFor(text, "blocks");
  if (!url) return url.error();
  if (url->scheme == "file") {
    if (!url->host.empty() || url->path.size() < 2) return Wrong("blocks: file:///DIRECTORY");
    AIRSTORE_TRY(NothingLeft(*url));
    return Keep(DirBlockStore::Open(url->path), &opened->directory, &opened->stores.blocks);
  }
  if (url->scheme != "s3") return Wrong("blocks '" + text + "': file or s3");
  auto place = S3PlaceFrom(std::move(*url));
  if (!place) return Error{place.error().code, "blocks: " + place.error().message};
  return Keep(S3BlockStore::Open(std::move(place->options), place->prefix), &opened->s3,
              &opened->stores.blocks);
}

// sqlite:///DIRECTORY/... and file:///DIRECTORY/...
bool AreBeside(const std::string& metadata_url, const std::string& blocks_url) {
  const auto metadata = ParseStoreUrl(metadata_url);
  const auto blocks = ParseStoreUrl(blocks_url);
  const auto parent = [](const StoreUrl& url) { return url.path.substr(0, url.path.rfind('/')); };
  return metadata && blocks && metadata->scheme == "sqlite" && blocks->scheme == "file" &&
         parent(*metadata) == parent(*blocks);
}

// A database and the directory beside it are kept together by whoever keeps them, as ever.
Result<void> Claim(const Opened& opened, bool beside) {
  if (beside) return {};
  Result<std::string> identity =
      opened.redis != nullptr ? Result(opened.redis->identity()) : opened.sqlite->Identity();
  if (!identity) return identity.error();
  const auto has_content = UntilNoConflict([&]() -> Result<bool> {
    auto rows = opened.stores.metadata->Read();
    if (!rows) return rows.error();
    const auto all = (*rows)->ListWorkspaces();
    AIRSTORE_TRY((*rows)->status());
    return std::any_of(all.begin(), all.end(),
                       [](const Workspace& one) { return one.used_bytes != 0; });
  });
  if (!has_content) return has_content.error();
  if (opened.s3 != nullptr) return opened.s3->Claim(*identity, *has_content);
  // Not always was a directory claimed for a database.
  return opened.directory->Claim(*identity, opened.sqlite != nullptr, *has_content);
}

}  // namespace

Result<Stores> OpenStores(const std::string& metadata_url, const std::string& blocks_url) {
  Opened opened;
  AIRSTORE_TRY(OpenBlocks(blocks_url, &opened));
  AIRSTORE_TRY(OpenMetadata(metadata_url, &opened));
  AIRSTORE_TRY(Claim(opened, AreBeside(metadata_url, blocks_url)));
  opened.stores.redis = opened.redis;
  return std::move(opened.stores);
}

}  // namespace airstore::gateway
