// A C++ program that is no more than that: spinlane.h in it, compiled with every warning an error. A client's hello.
#include <cstring>
#include <string>
#include <vector>

#include <spinlane.h>

int main()
{
    spinlane_conn_config *config = spinlane_conn_config_create_client();
    if (config == nullptr || !spinlane_conn_config_dangerously_accept_any_certificate(config))
        return 1;
    spinlane_conn *conn = spinlane_conn_create(config, "example.test");
    spinlane_conn_config_free(config);
    if (conn == nullptr || spinlane_conn_handshake(conn) != SPINLANE_WANT_INPUT)
        return 2;
    std::vector<unsigned char> hello;
    auto take = [](void *arg, const void *bytes, size_t len) -> ptrdiff_t {
        auto from = static_cast<const unsigned char *>(bytes);
        static_cast<std::vector<unsigned char> *>(arg)->assign(from, from + len);
        return static_cast<ptrdiff_t>(len);
    };
    if (spinlane_conn_write_output(conn, take, &hello) <= 0 || hello[0] != 22)
        return 3;
    const std::string name(hello.begin(), hello.end());
    return name.find("example.test") == std::string::npos || !spinlane_conn_free(conn) ? 4 : 0;
}
