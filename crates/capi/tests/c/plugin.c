/* A plugin that is linked to the library. */
#include <spinlane.h>

const char *plugin_version(void);

const char *plugin_version(void)
{
    return spinlane_version();
}
